"""How a DVC stage shows in Dagster. Subclass `DvcTranslator` to change any of it."""

from collections.abc import Sequence

import dagster as dg

from orchestration.graph import Stage, StageGraph


class DvcTranslator:
    """Maps stages to assets and asset checks.

    A stage is one asset; so is each item of a `foreach` over a list. The stage's `meta` in dvc.yaml may hold:
    `group`, `kinds`, `pool`; `partitions: NAME` (all items of the `foreach` are one asset, each item one of
    its dynamic partitions); `check_of: STAGE` (a blocking check of that stage's asset, not an asset).
    """

    def get_asset_key(self, stage: Stage) -> dg.AssetKey:
        if stage.item is None or self.get_partitions(stage):
            return dg.AssetKey([stage.template])
        return dg.AssetKey([f"{stage.template}_{stage.item}"])

    def get_group_name(self, stage: Stage) -> str:
        return stage.meta.get("group", "stages")

    def get_description(self, stage: Stage) -> str:
        return f"{stage.description}\n\n```shell\n{stage.command}\n```".strip()

    def get_kinds(self, stage: Stage) -> set[str]:
        return {"dvc", *stage.meta.get("kinds", ())}

    def get_pool(self, stage: Stage) -> str | None:
        return stage.meta.get("pool")

    def get_tags(self, stage: Stage) -> dict[str, str]:
        return {"dvc/stage": stage.template}

    def get_partitions(self, stage: Stage) -> str | None:
        """Name of the dynamic partitions whose keys are the items of the stage's `foreach`."""
        return stage.meta.get("partitions")

    def get_partitions_def(self, stage: Stage) -> dg.DynamicPartitionsDefinition | None:
        name = self.get_partitions(stage)
        return dg.DynamicPartitionsDefinition(name=name) if name else None

    def get_checked_stage(self, stage: Stage) -> str | None:
        """Template name of the stage that this one checks, None where it is an asset itself."""
        return stage.meta.get("check_of")

    def get_deps(self, stages: Sequence[Stage], graph: StageGraph) -> list[dg.AssetDep]:
        """The assets that the stages of one asset read. What a check makes counts as its asset's."""
        own = self.get_asset_key(stages[0])
        deps: dict[dg.AssetKey, dg.AssetDep] = {}
        for stage in stages:
            for above in graph.upstream(stage):
                source = self.resolve_check(above, graph)
                key = self.get_asset_key(source)
                if key != own:
                    deps[key] = self._dep(source, key, stage)
        return list(deps.values())

    def resolve_check(self, stage: Stage, graph: StageGraph) -> Stage:
        """The stage itself or, for a check, the stage that it checks (of the same item)."""
        checked = self.get_checked_stage(stage)
        if checked is None:
            return stage
        name = f"{checked}@{stage.item}" if stage.item else checked
        if name not in graph:
            raise dg.DagsterInvalidDefinitionError(
                f"stage '{stage.name}' of dvc.yaml has check_of: {checked}, but there is no stage '{name}'"
            )
        return graph[name]

    def _dep(self, source: Stage, key: dg.AssetKey, reader: Stage) -> dg.AssetDep:
        whole = self.get_partitions(source) and not self.get_partitions(reader)
        return dg.AssetDep(key, partition_mapping=dg.AllPartitionMapping() if whole else None)
