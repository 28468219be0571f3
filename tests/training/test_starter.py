import json

import pytest
import torch

from ml.errors import InputError
from ml.training import starter
from ml.training.checkpoint import load, save
from ml.training.trident import card
from tests.training.test_start import network

SCORES = {
    "pages": 12,
    "words": {"precision": 0.9, "recall": 0.8, "f1": 0.847},
    "reading": {"cer": 0.05, "exact": 0.8},
    "end_to_end": {"f1": 0.7},
}
REAL = {
    "peak_megabytes": {"trident": 500},
    "groups": {
        "pdf": {"trident": {"pages": 3, "seconds": 0.4, "word_f1": 0.91, "end_to_end_f1": 0.81}},
        "a.pdf#1": {"trident": {"pages": 1, "seconds": 0.4, "word_f1": 0.123}},
    },
}
TOLD = {"pages": "synthetic pages", "training": "one evening"}


def test_a_starter_is_half_the_size_and_says_what_it_reads(tmp_path):
    net = network(0)
    save(tmp_path / "model", net, card(net, "digest-of-data", {}))
    out = starter.pack(tmp_path / "model", tmp_path / "starter", SCORES, REAL, TOLD)
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (tmp_path / "model", out)]
    assert sizes[1] < 0.52 * sizes[0]
    page = (out / "README.md").read_text()
    assert all(
        text in page for text in ("0.847", "0.05", "| pdf | trident | 3 | 0.4 | 0.91 | 0.81 |", "one evening")
    )
    assert "0.123" not in page
    assert json.loads((out / "card.json").read_text())["scores"]["end_to_end"]["f1"] == 0.7
    assert all(torch.isfinite(p).all() for p in load(out)[0].parameters())


def test_weights_too_large_for_a_repository_are_refused(tmp_path, monkeypatch):
    net = network(0)
    save(tmp_path / "model", net, card(net, "d", {}))
    monkeypatch.setattr(starter, "MOST_BYTES", 1000)
    with pytest.raises(InputError, match="MB of weights"):
        starter.pack(tmp_path / "model", tmp_path / "starter", SCORES, {}, TOLD)
