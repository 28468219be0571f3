import subprocess
import sys
import threading
import time

import dagster as dg
import pytest

from orchestration.dvc import DvcResource, StageError, flatten
from orchestration.run import GraphError, materialise_graph


def resource(project) -> DvcResource:
    return DvcResource(project=str(project.root))


def test_a_stage_runs_once_and_is_cached_afterwards(project):
    lines: list[str] = []
    first = resource(project).repro("synth", lines.append)
    second = resource(project).repro("synth", lines.append)
    assert (first.cached, second.cached) == (False, True)
    assert first.stage.version == second.stage.version is not None


def test_what_a_stage_prints_reaches_the_log_and_the_terminal(project, capsys):
    project.edit(
        "dvc.yaml", "cmd: mkdir -p data/landing", "cmd: echo page 1 of 9 >&2 && mkdir -p data/landing"
    )
    lines: list[str] = []
    resource(project).repro("synth", lines.append)
    assert "page 1 of 9" in lines
    assert "page 1 of 9" in capsys.readouterr().err


def test_a_failing_stage_says_why_and_what_to_do(project, instance):
    project.edit("dvc.yaml", "cmd: mkdir -p data/landing/synthetic", "cmd: echo no typst here >&2; false")
    with pytest.raises(StageError) as failed:
        resource(project).repro("synth", lambda _: None)
    assert failed.value.cause == "no typst here"
    assert "dvc repro --single-item synth" in failed.value.hint
    with pytest.raises(GraphError, match=r"no typst here\. Fix what it names"):
        materialise_graph(project.root, instance)


def test_the_failure_in_dagster_carries_the_last_lines(project, instance):
    project.edit("dvc.yaml", "cmd: mkdir -p data/landing/synthetic", "cmd: echo no typst here >&2; false")
    job = project.definitions().resolve_job_def("sources")
    result = job.execute_in_process(instance=instance, raise_on_error=False)
    failure = result.failure_data_for_node("synth")
    assert failure is not None and failure.user_failure_data is not None
    metadata = failure.user_failure_data.metadata
    assert "no typst here" in str(metadata["stderr"].value)
    assert metadata["hint"].value


def test_a_missing_dependency_is_explained(project):
    with pytest.raises(StageError, match="Materialise the assets upstream first"):
        resource(project).repro("snapshot", lambda _: None)


HOLD_REPOSITORY = """
import sys, time
from dvc.repo import Repo
repo = Repo(sys.argv[1])
with repo.lock:
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def test_a_held_repository_lock_is_waited_for(project):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_REPOSITORY, str(project.root), "3"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        assert not resource(project).repro("synth", lambda _: None).cached
    finally:
        holder.wait()


def test_a_stage_that_another_process_runs_is_waited_for(project):
    project.edit("dvc.yaml", "cmd: mkdir -p data/landing", "cmd: touch began; sleep 3; mkdir -p data/landing")
    runs, lines = [], []
    thread = threading.Thread(target=lambda: runs.append(resource(project).repro("synth", lambda _: None)))
    thread.start()
    while not (project.root / "began").exists():
        time.sleep(0.05)
    runs.append(resource(project).repro("synth", lines.append))
    thread.join()
    assert [run.cached for run in runs] == [False, True]
    assert any("waits for another process" in line for line in lines)


def test_an_interrupted_asset_leaves_no_process_behind(project):
    import psutil

    project.edit(
        "dvc.yaml", "cmd: mkdir -p data/landing", "cmd: sleep 617 & echo begun; wait; mkdir -p data/landing"
    )

    def interrupt(line: str) -> None:
        if line == "begun":
            raise dg.DagsterExecutionInterruptedError

    with pytest.raises(dg.DagsterExecutionInterruptedError):
        resource(project).repro("synth", interrupt)
    left = [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "617"]]
    assert left == []


def test_flat_metrics_keep_numbers_only():
    values = {"words": {"f1": 0.5, "name": "x"}, "documents": [{"n": 1}], "served": True}
    assert flatten(values) == {"words.f1": 0.5, "served": 1.0}
