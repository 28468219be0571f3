"""A long training holds no more memory than a short one."""

import numpy as np
import psutil
import pytest
import torch

from ml.models.charset import PAD
from ml.pages import Word
from ml.training.engine import fit
from ml.training.trident import TridentSystem, make
from tests.training.test_trident import dataset, page, params

STEPS = 500
#: Images kept of every step, in floats, would be 150 MB; without few shapes of words, memory grew by 210 MB.
MOST = 50e6  # bytes


def crowded(number, rng):
    """A page with 1 to 80 words of 1 to 9 letters."""
    corners = [(x, y) for y in range(8, 180, 12) for x in range(8, 240, 20)]
    chosen = rng.permutation(len(corners))[: rng.integers(1, 80)]
    words = [
        Word((x, y, x + 16, y + 9), "abcdefghi"[: rng.integers(1, 10)])
        for x, y in np.array(corners)[chosen].tolist()
    ]
    return page(number, words=tuple(words))


@pytest.fixture
def one_thread():
    """Two that wait for each other take twice as long for networks as small as this."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_memory_stands_still_while_word_counts_vary(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    data = dataset(tmp_path / "data", [crowded(number, rng) for number in range(24)])
    training = {"batch": 2, "steps": STEPS, "evaluate_every": STEPS, "save_every": STEPS}
    config = params(tower=1, crop=128, zoom=[0.6, 1.6], training=training)
    system, steps = make(config, data, None)
    held, counts = [], set()
    loss = TridentSystem.loss

    def watched(system, batch):
        held.append(psutil.Process().memory_info().rss)
        counts.add(int((batch["word_text"][..., 0] != PAD).sum()))
        return loss(system, batch)

    monkeypatch.setattr(TridentSystem, "loss", watched)
    where = {"state": tmp_path / "training" / "state", "log": tmp_path / "log.csv"}
    fit(system, steps, config.trident.training, seed=1, workers=0, **where)
    grown = held[STEPS - 1] - held[100]
    assert len(counts) > 40
    assert grown < MOST, f"{grown / 1e6:.0f} MB in 400 steps"
