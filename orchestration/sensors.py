"""The landing sensor: a new folder under data/landing becomes a batch, its partition and a run."""

from pathlib import Path

import dagster as dg

from ml.errors import UsageError
from orchestration.batches import (
    AUTO,
    LANDING,
    Batch,
    is_stable,
    landed_folders,
    read_batches,
    register,
    require_readable,
)

#: Seconds for which a landed folder must stay as it is before it is taken.
QUIET_SECONDS = 20.0


def landing_sensor(
    root: Path,
    partitions: dg.DynamicPartitionsDefinition,
    job_name: str,
    quiet_seconds: float = QUIET_SECONDS,
) -> dg.SensorDefinition:
    """Registers stable folders of data/landing; asks for a run of `job_name` per batch not seen before."""

    @dg.sensor(
        name="landing",
        job_name=job_name,
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="A folder dropped into data/landing is read and held against its contract.",
    )
    def landing(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        refused = register_landed(root, quiet_seconds)
        for reason in refused:
            context.log.warning(reason)
        known = set(context.instance.get_dynamic_partitions(str(partitions.name)))
        new = [batch for batch in read_batches(root).values() if batch.name not in known]
        if not new:
            return dg.SkipReason("; ".join(refused) or f"no new folder in {LANDING}")
        return dg.SensorResult(
            dynamic_partitions_requests=[partitions.build_add_request([batch.name for batch in new])],
            # What a stage makes (synthetic) is not there yet; its pages come with that stage's run.
            run_requests=[
                dg.RunRequest(run_key=f"{job_name}:{batch.name}", partition_key=batch.name)
                for batch in new
                if (root / batch.path).exists()
            ],
        )

    return landing


def register_landed(root: Path, quiet_seconds: float) -> list[str]:
    """Register every stable folder of data/landing that is no batch yet. Returns why others were refused."""
    taken = {batch.path for batch in read_batches(root).values()}
    refused = []
    for folder in landed_folders(root):
        path = folder.relative_to(root).as_posix()
        if path in taken or not is_stable(folder, quiet_seconds):
            continue
        try:
            require_readable(folder)
        except UsageError as error:
            refused.append(str(error))
        else:
            register(root, Batch(folder.name, AUTO, path))
    return refused
