"""Two processes that torchrun starts train like one."""

import csv
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from ml.config import TrainingConfig
from ml.training.engine import fit
from ml.training.state import load_state

if __name__ == "__main__":
    from test_engine import Numbers, Sum
else:
    from tests.training.test_engine import Numbers, Sum

CONFIG = TrainingConfig(
    steps=12, batch=8, lr=0.02, save_every=5, evaluate_every=4, ema=0.9, precision="32-true"
)
pytestmark = pytest.mark.slow


class Pairs(Numbers):
    """What two processes see in a step, as one batch."""

    def __getitem__(self, step):
        one, two = Numbers()[2 * step], Numbers()[2 * step + 1]
        return {name: torch.cat([one[name], two[name]]) for name in one}

    def validation(self):
        return Numbers().validation()


class Steady(Sum):
    """Without dropout; `dies` and `poison` count this process's losses."""

    def __init__(self, poison=None, dies=None):
        super().__init__(poison)
        self.network[1] = nn.Identity()
        self.dies = dies

    def loss(self, batch):
        if self.seen == self.dies:
            os.kill(os.getpid(), 9)
        return super().loss(batch)


def train(folder, steps, system):
    state = folder / "training" / "state"
    summary = fit(system, steps, CONFIG, seed=3, state=state, log=folder / "log.csv", workers=0)
    return system.network.state_dict(), summary


def torchrun(folder, *options):
    run = f"{sys.executable} -m torch.distributed.run --standalone --local-addr 127.0.0.1 --nproc-per-node 2"
    return subprocess.run(
        [*run.split(), __file__, str(folder), *options],
        env=os.environ
        | {
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "GLOO_SOCKET_IFNAME": "lo",
            "CUDA_VISIBLE_DEVICES": "",
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    weights, _ = train(folder, Pairs(), Steady())
    return weights, list(csv.DictReader((folder / "log.csv").open()))


def assert_equal(folder, alone):
    for rank in range(2):
        weights = load_state(folder / f"weights-{rank}")
        assert weights["by"] == ("the first" if rank == 0 else "another")
        for name, value in alone[0].items():
            assert torch.allclose(weights["weights"][name], value, atol=1e-6), (rank, name)
    rows = list(csv.DictReader((folder / "log.csv").open()))
    assert [row["step"] for row in rows] == [row["step"] for row in alone[1]]
    for key in ("loss", "grad_norm", "lr", "val_error"):
        numbers = [[float(row[key] or 0) for row in table] for table in (rows, alone[1])]
        assert numbers[0] == pytest.approx(numbers[1], rel=1e-4), key


def test_two_processes_train_to_the_weights_of_one_with_twice_the_batch(tmp_path, alone):
    ran = torchrun(tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert_equal(tmp_path, alone)
    assert ran.stderr.count("pages/s") == 1  # one process shows how far it got
    assert "192/192 pages" in ran.stderr  # 12 steps of 8 pages in each of two


def test_two_killed_processes_go_on_where_they_were(tmp_path, alone):
    died = torchrun(tmp_path, "dies")
    assert died.returncode != 0
    assert load_state(tmp_path / "training" / "state")["step"] == 5
    ran = torchrun(tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("going on from step 5") == 1
    assert_equal(tmp_path, alone)


def test_a_loss_that_is_not_finite_in_one_process_stops_both(tmp_path):
    ran = torchrun(tmp_path, "poison")
    assert ran.returncode != 0
    kept = [load_state(tmp_path / "training" / f"state.not-finite-{rank}") for rank in range(2)]
    assert [state["step"] for state in kept] == [3, 3]
    assert [math.isnan(state["own_loss"]) for state in kept] == [False, True]
    for rank, state in enumerate(kept):
        assert torch.equal(state["batches"][0]["x"], Numbers()[2 * 2 + rank]["x"])


def _main(folder, trouble=""):
    """What torchrun runs: train, and keep what this process came to."""
    from ml.training.state import save_state

    rank = int(os.environ["RANK"])
    system = Steady()
    if rank == 1:
        system.dies, system.poison = {"dies": (8, None), "poison": (None, 3)}.get(trouble, (None, None))
    by = "the first"
    try:
        train(folder, Numbers(), system)
    except SystemExit:
        by = "another"
    save_state(folder / f"weights-{rank}", {"by": by, "weights": system.network.state_dict()})


if __name__ == "__main__":
    _main(Path(sys.argv[1]), *sys.argv[2:])
