"""What `dagster dev` opens: everything derived from dvc.yaml, with no configuration."""

import os
from pathlib import Path

import dagster as dg

from orchestration.assets import assets_of, dvc_assets
from orchestration.checks import dvc_checks
from orchestration.dvc import DvcResource
from orchestration.graph import StageGraph
from orchestration.sensors import landing_sensor
from orchestration.translator import DvcTranslator

#: Names of the jobs: what the batches are made from, one batch with its contract, and all that follows.
SOURCES, BATCH, MAIN = "sources", "landed_batch", "main"

#: Heavy stages take all cores by themselves; a second process lets light ones run beside a training.
PROCESSES = 2


def project_root() -> Path:
    """The folder with dvc.yaml: SCRIPTORIUM_PROJECT, else the one that this package lies in."""
    return Path(os.environ.get("SCRIPTORIUM_PROJECT") or Path(__file__).parent.parent).resolve()


def build_definitions(root: Path, translator: DvcTranslator | None = None) -> dg.Definitions:
    """The definitions of the project in `root`."""
    translator = translator or DvcTranslator()
    graph = StageGraph.load(root)
    assets = assets_of(graph, translator)
    batches = {key: stages for key, stages in assets.items() if translator.get_partitions(stages[0])}
    jobs = _jobs(set(assets), set(batches))
    partitions = [translator.get_partitions_def(stages[0]) for stages in batches.values()]
    return dg.Definitions(
        assets=dvc_assets(graph, translator),
        asset_checks=dvc_checks(graph, translator),
        jobs=jobs,
        schedules=[
            dg.ScheduleDefinition(
                name="retrain",
                job_name=MAIN,
                cron_schedule="0 2 * * 1",
                description="All after the batches, weekly; all cached without new pages. Off at first.",
            )
        ],
        sensors=[landing_sensor(root, definition, BATCH) for definition in partitions if definition][:1],
        resources={"dvc": DvcResource(project=str(root))},
        executor=dg.multiprocess_executor.configured({"max_concurrent": PROCESSES}),
    )


def _jobs(keys: set[dg.AssetKey], batches: set[dg.AssetKey]) -> list:
    """One job for each phase. A run has one partition or none, so a batch is a run of its own, and a batch
    that its contract rejects fails that run only: the snapshot then takes the accepted ones."""
    partitioned = dg.AssetSelection.assets(*batches)
    sources = partitioned.upstream() - partitioned
    everything = dg.AssetSelection.assets(*keys)
    main = dg.define_asset_job(
        MAIN,
        everything - partitioned - sources if batches else everything,
        description="Everything after the batches.",
    )
    if not batches:
        return [main]
    return [
        dg.define_asset_job(SOURCES, sources, description="What the batches are made from."),
        dg.define_asset_job(
            BATCH, partitioned, description="One batch: read it and hold it against its contract."
        ),
        main,
    ]


@dg.definitions
def defs() -> dg.Definitions:
    return build_definitions(project_root())
