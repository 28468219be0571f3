"""One Dagster asset per stage of dvc.yaml. Nothing here knows a stage by name: a new one just appears."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from orchestration.dvc import DvcResource, StageError, StageRun
from orchestration.graph import Stage, StageGraph
from orchestration.pictures import stage_pictures
from orchestration.terminal import announce, conclude
from orchestration.translator import DvcTranslator

#: Numbers of one stage that Dagster charts; a metrics file with more is a table, not metrics.
MOST_METRICS = 80


def dvc_assets(graph: StageGraph, translator: DvcTranslator | None = None) -> list[dg.AssetsDefinition]:
    """The assets of all stages that are no checks."""
    translator = translator or DvcTranslator()
    return [_asset(stages, graph, translator) for stages in assets_of(graph, translator).values()]


def assets_of(graph: StageGraph, translator: DvcTranslator) -> dict[dg.AssetKey, list[Stage]]:
    """The stages behind each asset: one, or every item of a partitioned `foreach`."""
    assets: dict[dg.AssetKey, list[Stage]] = {}
    for stage in graph.values():
        if translator.get_checked_stage(stage) is None:
            assets.setdefault(translator.get_asset_key(stage), []).append(stage)
    for key, stages in assets.items():
        if len(stages) > 1 and not translator.get_partitions(stages[0]):
            names = ", ".join(stage.name for stage in stages)
            raise dg.DagsterInvalidDefinitionError(
                f"stages {names} are all asset {key.to_user_string()}; rename one"
            )
    return assets


def _asset(stages: Sequence[Stage], graph: StageGraph, translator: DvcTranslator) -> dg.AssetsDefinition:
    stage = stages[0]
    key = translator.get_asset_key(stage)
    partitioned = translator.get_partitions(stage) is not None

    @dg.asset(
        key=key,
        deps=translator.get_deps(stages, graph),
        description=translator.get_description(stage),
        group_name=translator.get_group_name(stage),
        kinds=translator.get_kinds(stage),
        tags=translator.get_tags(stage),
        pool=translator.get_pool(stage),
        partitions_def=translator.get_partitions_def(stage),
        metadata=_definition_metadata(stage),
    )
    def materialise(context: dg.AssetExecutionContext, dvc: DvcResource) -> dg.MaterializeResult:
        # A batch may have landed after this was loaded: the run's partition names its stage.
        name = f"{stage.template}@{context.partition_key}" if partitioned else stage.name
        run = run_stage(name, dvc, context.log)
        return dg.MaterializeResult(
            metadata=materialisation_metadata(dvc.root, run),
            data_version=dg.DataVersion(run.stage.version) if run.stage.version else None,
        )

    return materialise


def run_stage(name: str, dvc: DvcResource, log: Any) -> StageRun:
    """Run an asset's stage, with a line before and after it. Raises dagster.Failure with cause and hint."""
    announce(name)
    try:
        run = dvc.repro(name, log.info)
    except StageError as failed:
        conclude(name, failed=failed.cause)
        raise dg.Failure(
            description=str(failed), metadata=failure_metadata(failed), allow_retries=False
        ) from failed
    conclude(name, run=run)
    return run


def failure_metadata(failed: StageError) -> dict[str, dg.MetadataValue]:
    """What a person needs who sees only the failure: cause, hint and the last lines."""
    return {
        "cause": dg.MetadataValue.text(failed.cause),
        "hint": dg.MetadataValue.text(failed.hint),
        "stderr": dg.MetadataValue.md("```\n" + "\n".join(failed.tail) + "\n```"),
    }


def materialisation_metadata(root: Path, run: StageRun) -> dict[str, Any]:
    """Cached or not, seconds, every number of the stage's metrics, its outputs and its pictures."""
    numbers = {
        name: dg.MetadataValue.float(value) for name, value in list(run.metrics.items())[:MOST_METRICS]
    }
    pictures = {name: dg.MetadataValue.md(text) for name, text in stage_pictures(root, run.stage).items()}
    outs = {f"out: {out.path}": dg.MetadataValue.path(str(root / out.path)) for out in run.stage.outs}
    return {
        "cached": dg.MetadataValue.bool(run.cached),
        "seconds": dg.MetadataValue.float(round(run.seconds, 3)),
        "stage": dg.MetadataValue.text(run.stage.name),
        **numbers,
        **outs,
        **pictures,
    }


def _definition_metadata(stage: Stage) -> Mapping[str, Any]:
    parameters = [f"{file}: {', '.join(keys)}" for file, keys in stage.params.items()]
    return {
        "command": dg.MetadataValue.md(f"```shell\n{stage.command}\n```"),
        "reads": dg.MetadataValue.text(", ".join(stage.deps) or "nothing"),
        "parameters": dg.MetadataValue.text("; ".join(parameters) or "none"),
    }
