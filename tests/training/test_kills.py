"""Trident's training, killed again and again, comes to the bytes of a training that never was."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ml.training import state
from ml.training.engine import fit
from ml.training.state import save_state
from ml.training.trident import TridentSystem, make
from tests.training.test_trident import dataset, page, params

TRAINING = {"batch": 2, "steps": 20, "save_every": 3, "evaluate_every": 6, "ema": 0.9, "threads": 1}
#: Where a save is cut off: before one of these calls, or after it, with half of what it wrote.
IN_A_SAVE = {
    "tensors": (state, "save_file"),
    "figures": (Path, "write_text"),
    "sync": (os, "fsync"),
    "rename": (Path, "rename"),
    "tidy": (shutil, "rmtree"),
}


def moments(seed):
    """Ten kills as (where, at which call in the life of the process, seconds after it)."""
    rng = random.Random(seed)
    kills = [("loss", rng.randint(1, 8), rng.uniform(0, 0.15)) for _ in range(5)]
    kills += [(place, rng.randint(1, 2), 0) for place in IN_A_SAVE]
    rng.shuffle(kills)
    return kills


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at(place, call, delay):
    """Have this process killed at a call of a place."""
    owner, name = IN_A_SAVE.get(place, (TridentSystem, "loss"))
    real, calls = getattr(owner, name), 0

    def watched(*args, **more):
        nonlocal calls
        calls += 1
        if calls == call and place == "loss":
            threading.Timer(delay, die).start()
        elif calls == call:
            if place == "tensors":
                real(*args, **more)
                os.truncate(args[1], args[1].stat().st_size // 2)
            die()
        return real(*args, **more)

    setattr(owner, name, watched)


def train(folder):
    config = params(long_edge=128, training=TRAINING)
    system, steps = make(config, folder.parent / "data", None)
    where = {"state": folder / "training" / "state", "log": folder / "log.csv"}
    summary = fit(system, steps, config.trident.training, seed=1, **where)
    save_state(folder / "end", system.network.state_dict())
    print(json.dumps(summary.resumed_from))


def in_a_process(folder, kill=None):
    """Train in a child that shares the imports; its exit status, negative for the signal that ended it."""
    child = os.fork()
    if child == 0:
        if kill:
            kill_at(*kill)
        train(folder)
        sys.stdout.flush()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.slow
def test_ten_kills_leave_the_weights_of_a_training_that_never_was_killed(tmp_path):
    dataset(tmp_path / "data", [page(number) for number in range(5)])
    ran = subprocess.run(
        [sys.executable, "-m", "tests.training.test_kills", tmp_path],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    ends = json.loads(ran.stdout.splitlines()[-1])
    assert ends == [0, *[-signal.SIGKILL] * 10, 0], ran.stdout
    assert ran.stdout.count("going on from step") >= 5
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for file in ("end/tensors.safetensors", "log.csv"):
        assert (whole / file).read_bytes() == (killed / file).read_bytes(), file


if __name__ == "__main__":
    base = Path(sys.argv[1])
    ends = [in_a_process(base / "whole")]
    ends += [in_a_process(base / "killed", kill) for kill in moments(seed=22)]
    ends += [in_a_process(base / "killed")]
    print(json.dumps(ends))
