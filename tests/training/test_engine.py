import csv
import json
import math
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from ml.config import TrainingConfig
from ml.errors import InputError
from ml.training.engine import Schedule, Steps, fit
from ml.training.state import load_state, save_state


class Numbers(Steps):
    def __getitem__(self, step):
        g = torch.Generator().manual_seed(step)
        x = torch.randn(8, 4, generator=g)
        return {"x": x, "y": x.sum(1, keepdim=True)}

    def validation(self):
        return [self[10_000 + i] for i in range(2)]


class Sum(nn.Module):
    selection = ("error", "min")

    def __init__(self, poison=None):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.2), nn.ReLU(), nn.Linear(16, 1))
        self.poison, self.seen = poison, 0

    def loss(self, batch):
        self.seen += 1
        error = (self.network(batch["x"]) - batch["y"]).square().mean()
        if self.seen == self.poison:
            error = error * float("nan")
        return {"total": error}

    def validate(self, batches):
        return {"error": sum(float((self.network(b["x"]) - b["y"]).square().mean()) for b in batches)}


CONFIG = TrainingConfig(
    steps=24, batch=8, lr=0.02, save_every=5, evaluate_every=8, ema=0.9, precision="32-true"
)


def weights(system):
    return torch.cat([p.detach().flatten() for p in system.network.parameters()])


def train(folder, system=None, config=CONFIG, steps=None, **more):
    system = system or Sum()
    summary = fit(
        system,
        steps or Numbers(),
        config,
        seed=3,
        state=folder / "training" / "state",
        log=folder / "log.csv",
        workers=0,
        **more,
    )
    return system, summary


def test_two_runs_with_one_seed_give_equal_weights(tmp_path):
    a, _ = train(tmp_path / "a")
    b, _ = train(tmp_path / "b")
    assert torch.equal(weights(a), weights(b))


def test_training_learns_and_leaves_the_best_weights(tmp_path):
    config = CONFIG.model_copy(update={"steps": 200, "evaluate_every": 50})
    system, summary = train(tmp_path, config=config)
    assert summary.metrics["error"] < 0.5
    assert system.validate(Numbers().validation())["error"] == pytest.approx(summary.metrics["error"])


@pytest.mark.parametrize("killed_at", [7, 23])
def test_a_killed_run_continues_to_the_same_weights(tmp_path, killed_at):
    whole, _ = train(tmp_path / "whole")
    script = textwrap.dedent(f"""
        import os, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from test_engine import CONFIG, Numbers, Sum, fit
        class Dies(Sum):
            def loss(self, batch):
                if self.seen == {killed_at}:
                    os.kill(os.getpid(), 9)
                return super().loss(batch)
        folder = Path({str(tmp_path / "killed")!r})
        state = folder / "training" / "state"
        fit(Dies(), Numbers(), CONFIG, seed=3, state=state, log=folder / "log.csv", workers=0)
    """)
    died = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=120, check=False)
    assert died.returncode == -9, died.stderr.decode()
    resumed, summary = train(tmp_path / "killed")
    assert summary.resumed_from == killed_at - killed_at % CONFIG.save_every
    assert torch.equal(weights(whole), weights(resumed))
    logs = [list(csv.DictReader((tmp_path / run / "log.csv").open())) for run in ("whole", "killed")]
    assert logs[0] == logs[1]


def test_accumulating_two_batches_equals_the_mean_of_their_gradients(tmp_path):
    one = CONFIG.model_copy(update={"steps": 1, "accumulate": 2, "ema": 0.0, "clip": 1e9})
    system, _ = train(tmp_path, system=_without_dropout(), config=one)
    reference = _without_dropout()
    both = [Numbers()[i] for i in (0, 1)]
    (sum(reference.loss(b)["total"] for b in both) / 2).backward()
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in reference.network.parameters() if p.ndim < 2], "weight_decay": 0.0},
            {
                "params": [p for p in reference.network.parameters() if p.ndim > 1],
                "weight_decay": one.weight_decay,
            },
        ],
        lr=one.lr,
    )
    optimizer.step()
    assert torch.allclose(weights(system), weights(reference), atol=1e-6)


def _without_dropout():
    system = Sum()
    system.network[1] = nn.Identity()
    return system


def test_a_loss_that_is_not_finite_stops_with_its_step_and_keeps_its_batch(tmp_path):
    with pytest.raises(InputError, match=r"step 4 .*not-finite"):
        train(tmp_path, system=Sum(poison=4))
    folder = tmp_path / "training" / "state.not-finite"
    told = json.loads((folder / "state.json").read_text())
    assert told["step"] == 4
    assert math.isnan(told["loss"])
    kept = load_state(folder)
    assert torch.equal(kept["batches"][0]["x"], Numbers()[3]["x"])


def test_a_gradient_that_is_not_finite_stops_too(tmp_path):
    class Overflows(Sum):
        def loss(self, batch):
            error = super().loss(batch)["total"]
            # A root at zero: the value is finite, its slope is not.
            return {"total": error + (error - error.detach()).abs().sqrt()}

    with pytest.raises(InputError, match=r"step 1 .*gradient norm (nan|inf)"):
        train(tmp_path, system=Overflows())


def test_a_resumed_run_pairs_each_convolution_weight_with_its_own_moments(tmp_path):
    """Files keep tensors contiguous; the weights of a channels_last network are not."""

    class Filters(Sum):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            layers = nn.Conv2d(4, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 4, 1)
            self.network = nn.Sequential(*layers).to(memory_format=torch.channels_last)

        def loss(self, batch):
            image = batch["x"].reshape(8, 4, 1, 1).expand(-1, -1, 2, 2)
            return {"total": (self.network(image) - batch["y"]).square().mean()}

        def validate(self, batches):
            return {"error": sum(float(self.loss(b)["total"]) for b in batches)}

    config = CONFIG.model_copy(update={"evaluate_every": 5})
    whole, _ = train(tmp_path / "whole", system=Filters(), config=config)

    class Dies(Filters):
        def loss(self, batch):
            self.seen += 1
            if self.seen == 8 + 2:  # in step 8: training's batches and two of the validation
                raise KeyboardInterrupt
            return super().loss(batch)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", system=Dies(), config=config)
    resumed, summary = train(tmp_path / "killed", system=Filters(), config=config)
    assert summary.resumed_from == 5
    assert torch.equal(weights(whole), weights(resumed))


def test_training_stops_early_after_patience(tmp_path):
    config = CONFIG.model_copy(
        update={"steps": 400, "evaluate_every": 1, "patience": 2, "lr": 1e-9, "lr_min": 0, "ema": 0}
    )
    train(tmp_path, config=config)
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert len(rows) < 400


def test_schedule_values_at_the_plan_s_epochs():
    config = TrainingConfig(steps=80, warmup=3 / 80, lr=1e-4, lr_min=1e-6)
    rates = [1e-4 * Schedule(config)(k) for k in (0, 2, 3, 40, 80)]
    # Warm-up of 3: 1/3, 3/3; cosine over the other 77 down to 1e-6.
    middle = 1e-6 + (1e-4 - 1e-6) * 0.5 * (1 + math.cos(math.pi * 37 / 77))
    assert rates == pytest.approx([1e-4 / 3, 1e-4, 1e-4, middle, 1e-6])


def test_state_survives_a_round_trip_and_is_never_half_written(tmp_path):
    state = {
        "step": 3,
        "tree": {"a": torch.arange(3), "b": [1.5, None, "x"]},
        "optimizer": {0: {"m": torch.ones(2)}},
    }
    save_state(tmp_path / "s", state)
    (tmp_path / "s.new").mkdir()  # a later save was killed
    loaded = load_state(tmp_path / "s")
    assert torch.equal(loaded["tree"]["a"], state["tree"]["a"])
    assert loaded["tree"]["b"] == [1.5, None, "x"]
    assert torch.equal(loaded["optimizer"][0]["m"], torch.ones(2))


def test_two_kills_between_the_renames_of_a_save_lose_nothing(tmp_path, monkeypatch):
    save_state(tmp_path / "s", {"step": 3})
    rename = Path.rename

    def killed(self, target):
        if target == tmp_path / "s":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", killed)
    for step in (6, 9):
        with pytest.raises(KeyboardInterrupt):
            save_state(tmp_path / "s", {"step": step})
        assert load_state(tmp_path / "s") == {"step": 3}


def test_a_damaged_state_is_named(tmp_path):
    save_state(tmp_path / "s", {"a": torch.ones(2)})
    (tmp_path / "s" / "tensors.safetensors").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="damaged"):
        load_state(tmp_path / "s")


class Shows(Sum):
    def pictures(self):
        assert not self.network.training
        return {"sample": np.full((8, 12, 3), 200, np.uint8)}


def told(folder):
    """What TensorBoard would show of a training: its curves as (step, value), and its pictures' steps."""
    board = EventAccumulator(str(folder / "tensorboard" / "state"), size_guidance={"scalars": 0, "images": 0})
    board.Reload()
    tags = board.Tags()
    curves = {tag: [(e.step, round(e.value, 5)) for e in board.Scalars(tag)] for tag in tags["scalars"]}
    return curves, {tag: [e.step for e in board.Images(tag)] for tag in tags["images"]}


def test_tensorboard_shows_curves_and_pages_and_a_resumed_run_tells_no_step_twice(tmp_path, capsys):
    train(tmp_path / "whole", system=Shows())
    assert f"tensorboard --logdir {tmp_path / 'whole' / 'tensorboard'}" in capsys.readouterr().out

    class Dies(Shows):
        def loss(self, batch):
            if self.seen == 13:
                raise KeyboardInterrupt
            return super().loss(batch)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", system=Dies())
    train(tmp_path / "killed", system=Shows())
    curves, pictures = told(tmp_path / "whole")
    assert set(curves) == {"training/loss", "training/lr", "training/grad_norm", "validation/error"}
    assert [step for step, _ in curves["training/loss"]] == list(range(1, 25))
    assert [step for step, _ in curves["validation/error"]] == [8, 16, 24]
    assert pictures == {"sample": [8, 16, 24]}
    assert told(tmp_path / "killed") == (curves, pictures)


def test_training_goes_on_without_tensorboard_and_says_so_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    train(tmp_path, system=Shows())
    assert capsys.readouterr().out.count("TensorBoard is not installed") == 1
    assert not (tmp_path / "tensorboard").exists()


def test_the_words_that_a_batch_tells_of_are_counted_by_the_second(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ml.progress.LINE_EVERY", 0)

    class Told(Numbers):
        def __getitem__(self, step):
            return super().__getitem__(step) | {"words": torch.tensor(5)}

    train(tmp_path, steps=Told())
    assert re.search(r"192/192 pages, .* pages/s, .* s left \d+ words/s, loss \d", capsys.readouterr().err)


def test_bfloat16_reaches_the_network_and_spares_the_batch(tmp_path):
    class Watches(Sum):
        def loss(self, batch):
            self.kinds = (batch["x"].dtype, self.network[0](batch["x"]).dtype)
            return super().loss(batch)

    system, _ = train(
        tmp_path, system=Watches(), config=CONFIG.model_copy(update={"precision": "bf16-mixed"})
    )
    assert system.kinds == (torch.float32, torch.bfloat16)
