"""The whole graph, materialised in this process: sources, then batch by batch, then all that follows."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import psutil
from dagster._core.instance.ref import InstanceRef

from ml.errors import InputError
from orchestration.batches import read_batches
from orchestration.definitions import BATCH, MAIN, SOURCES, build_definitions
from orchestration.graph import Stage
from orchestration.report import AssetTime
from orchestration.translator import DvcTranslator

HOME = ".dagster"

#: Dagster's own log repeats on a terminal what the stages' lines say; the instance keeps all of it.
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


#: A run in this process writes straight to the terminal: Dagster would lead it through a file and helpers
#: that lag behind and answer Ctrl-C with tracebacks. What stages print is in the event log all the same.
DIRECT = {
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    }
}


@dataclass
class GraphRun:
    """What was materialised. `run_id` is the run of job `main`; `rejected` names the batches left out."""

    run_id: str = ""
    assets: list[AssetTime] = field(default_factory=list)
    rejected: dict[str, str] = field(default_factory=dict)


class GraphError(InputError):
    """An asset failed. The message is the stage's cause and what to do."""


def project_instance(root: Path) -> dg.DagsterInstance:
    """The instance that `dagster dev` opens in `root` (.env names it there)."""
    home = root / HOME
    home.mkdir(exist_ok=True)
    os.environ["DAGSTER_HOME"] = str(home)
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home), overrides=DIRECT))


class OneAfterAnother(DvcTranslator):
    """No pools: assets run one after another here, and a pool whose holder was killed would be waited for."""

    def get_pool(self, stage: Stage) -> str | None:
        return None


#: Tag of a run that names the process that executes it, so that a later one knows whether it still lives.
PROCESS = "scriptorium/process"


def _own_process() -> str:
    return _signature(psutil.Process())


def _signature(process: psutil.Process) -> str:
    """Process ids come round again; with the time of its start one is unique."""
    return f"{process.pid}@{process.create_time():.0f}"


def end_abandoned_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs whose process was killed as failed: nobody else will. Returns their ids."""
    going = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING])
    abandoned = []
    for run in instance.get_runs(going):
        owner = run.tags.get(PROCESS)
        if owner is None or _lives(owner):
            continue
        instance.report_run_failed(run, "its process was killed")
        abandoned.append(run.run_id)
    return abandoned


def _lives(owner: str) -> bool:
    try:
        return _signature(psutil.Process(int(owner.partition("@")[0]))) == owner
    except psutil.NoSuchProcess:
        return False


def materialise_graph(root: Path, instance: dg.DagsterInstance) -> GraphRun:
    """Materialise every asset of the project in `root`, asset after asset. Raises GraphError.

    A batch that its contract rejects fails its own run and is named; the graph goes on with the others.
    """
    end_abandoned_runs(instance)
    definitions = build_definitions(root, OneAfterAnother())
    jobs = {job.name for job in definitions.jobs or ()}
    done = GraphRun()
    if SOURCES in jobs:
        _execute(definitions, SOURCES, instance, done)
    if BATCH in jobs:
        names = list(read_batches(root))
        partitions = definitions.resolve_job_def(BATCH).partitions_def
        assert isinstance(partitions, dg.DynamicPartitionsDefinition)
        instance.add_dynamic_partitions(str(partitions.name), names)
        for name in names:
            _execute(definitions, BATCH, instance, done, partition=name)
    done.run_id = _execute(definitions, MAIN, instance, done)
    return done


def _execute(
    definitions: dg.Definitions,
    job: str,
    instance: dg.DagsterInstance,
    done: GraphRun,
    partition: str | None = None,
) -> str:
    result = definitions.resolve_job_def(job).execute_in_process(
        run_config=QUIET,
        instance=instance,
        partition_key=partition,
        tags={PROCESS: _own_process()},
        raise_on_error=False,
    )
    done.assets.extend(_times(result, partition))
    if any(_is_interruption(event) for event in result.all_events):
        raise KeyboardInterrupt
    rejections = [
        e for e in result.get_asset_check_evaluations() if not e.passed and e.blocking and _is_error(e)
    ]
    if rejections and partition and "cause" not in rejections[0].metadata:
        done.rejected[partition] = rejections[0].description or "its contract rejected it"
    elif not result.success:
        # A contract that could not be held is no verdict on the batch.
        raise GraphError(str(rejections[0].description) if rejections else _why(result))
    return result.run_id


def _is_interruption(event: dg.DagsterEvent) -> bool:
    error = event.step_failure_data.error if event.is_step_failure else None
    return error is not None and error.cls_name == dg.DagsterExecutionInterruptedError.__name__


def _is_error(evaluation: dg.AssetCheckEvaluation) -> bool:
    return evaluation.severity == dg.AssetCheckSeverity.ERROR


def _times(result: dg.ExecuteInProcessResult, partition: str | None) -> Iterator[AssetTime]:
    """What each asset and check reported, in the order in which they were done."""
    for event in result.all_events:
        if event.is_step_materialization:
            materialization = event.step_materialization_data.materialization
            name, metadata = materialization.asset_key.to_user_string(), materialization.metadata
        elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            name, metadata = evaluation.check_name, evaluation.metadata
        else:
            continue
        if "seconds" in metadata:
            shown = f"{name}[{partition}]" if partition else name
            yield AssetTime(shown, float(metadata["seconds"].value), bool(metadata["cached"].value))  # type: ignore[arg-type]


def _why(result: dg.ExecuteInProcessResult) -> str:
    """The first failing step's own words."""
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data
            if failure.user_failure_data and failure.user_failure_data.description:
                return failure.user_failure_data.description
            if failure.error:
                return f"{event.step_key} failed: {(failure.error.cause or failure.error).message.strip()}"
    return "the run failed; `dagster dev` shows where"
