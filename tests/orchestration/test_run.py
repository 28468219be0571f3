import os
import signal
import subprocess
import sys
import time

import dagster as dg

from orchestration.run import materialise_graph, project_instance

RUN = """
import sys
from pathlib import Path
from orchestration.run import materialise_graph, project_instance
with project_instance(Path(sys.argv[1])) as instance:
    materialise_graph(Path(sys.argv[1]), instance)
"""

ONE_AT_A_TIME = "telemetry: {enabled: false}\nconcurrency: {pools: {default_limit: 1, granularity: op}}\n"


def test_a_full_pool_is_not_waited_for(project, monkeypatch):
    """A killed run of `dagster dev` may hold it for ever."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    project.write(".dagster/dagster.yaml", ONE_AT_A_TIME)
    with project_instance(project.root) as instance:
        instance.event_log_storage.initialize_concurrency_limit_to_default("train")
        claim = instance.event_log_storage.claim_concurrency_slot("train", "a-dead-run", "trident")
        assert claim.is_claimed
        run = materialise_graph(project.root, instance)
    assert "trident" in {asset.name for asset in run.assets}


def test_a_killed_run_is_continued_by_the_next_one(project, monkeypatch):
    """What it had finished is cached; its record no longer says that it goes on."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    project.write(".dagster/dagster.yaml", ONE_AT_A_TIME)
    project.edit(
        "dvc.yaml",
        "cmd: mkdir -p models",
        "cmd: '[ -e fast ] || { touch began; sleep 900; }; mkdir -p models",
    )
    project.edit("dvc.yaml", "metrics/trident.csv\n    deps", "metrics/trident.csv'\n    deps")
    killed = subprocess.Popen(
        [sys.executable, "-c", RUN, str(project.root)], stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        until = time.monotonic() + 300
        while not (project.root / "began").exists():
            assert killed.poll() is None and time.monotonic() < until
            time.sleep(0.1)
    finally:
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()

    project.write("fast", "")
    with project_instance(project.root) as instance:
        run = materialise_graph(project.root, instance)
        statuses = [record.status for record in instance.get_runs()]
    assert {asset.name for asset in run.assets if not asset.cached} == {
        "trident",
        "export_trident",
        "export_student",
    }
    assert dg.DagsterRunStatus.STARTED not in statuses


def test_ctrl_c_ends_the_run_at_once_and_says_so_once(project, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", "")
    project.edit(
        "dvc.yaml", "cmd: mkdir -p data/landing", "cmd: touch began; sleep 900; mkdir -p data/landing"
    )
    interrupted = subprocess.Popen(
        [sys.executable, "-c", RUN, str(project.root)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + 300
    while not (project.root / "began").exists():
        assert interrupted.poll() is None and time.monotonic() < until
        time.sleep(0.1)
    os.killpg(interrupted.pid, signal.SIGINT)  # as a terminal does
    _, said = interrupted.communicate(timeout=120)
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert "watch_orphans" not in said
