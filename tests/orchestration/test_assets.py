import dagster as dg
import pytest

from orchestration.assets import dvc_assets
from orchestration.graph import StageGraph
from orchestration.run import materialise_graph
from orchestration.translator import DvcTranslator
from tests.orchestration.conftest import Project


def keys(definitions: dg.Definitions) -> set[str]:
    return {key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys()}


def test_every_stage_but_the_checks_is_an_asset(project):
    assert keys(project.definitions()) == {
        "synth", "batch", "snapshot", "trident", "export_trident", "export_student",
    }  # fmt: skip


def test_a_stage_added_to_dvc_yaml_appears_with_no_other_edit(project):
    project.edit(
        "dvc.yaml",
        "  trident:\n",
        "  thumbnails:\n    cmd: cp data/snapshot/pages thumbs\n"
        "    deps: [data/snapshot]\n    outs: [thumbs]\n"
        "    desc: Small pictures.\n    meta: {group: extras, kinds: [pillow]}\n  trident:\n",
    )
    graph = project.definitions().resolve_asset_graph()
    node = graph.get(dg.AssetKey("thumbnails"))
    assert node.parent_keys == {dg.AssetKey("snapshot")}
    assert node.group_name == "extras"
    assert "Small pictures." in (node.description or "")
    assert node.kinds == {"dvc", "pillow"}


def test_dependencies_are_those_of_the_files(project):
    graph = project.definitions().resolve_asset_graph()
    parents = {n.key.to_user_string(): {p.to_user_string() for p in n.parent_keys} for n in graph.asset_nodes}
    assert parents["batch"] == {"synth"}
    assert parents["snapshot"] == {"batch"}
    assert parents["export_student"] == {"trident"}


def test_snapshot_takes_all_partitions_of_the_batches(project):
    graph = StageGraph.load(project.root)
    dep = DvcTranslator().get_deps([graph["snapshot"]], graph)[0]
    assert isinstance(dep.partition_mapping, dg.AllPartitionMapping)


def test_a_translator_can_rename_and_regroup(project):
    class Prefixed(DvcTranslator):
        def get_asset_key(self, stage):
            return super().get_asset_key(stage).with_prefix("dvc")

        def get_group_name(self, stage):
            return "all"

    assets = dvc_assets(StageGraph.load(project.root), Prefixed())
    assert dg.AssetKey(["dvc", "snapshot"]) in {asset.key for asset in assets}
    assert {group for asset in assets for group in asset.group_names_by_key.values()} == {"all"}


def materialization(instance: dg.DagsterInstance, key: str) -> dg.AssetMaterialization:
    event = instance.get_latest_materialization_event(dg.AssetKey(key))
    assert event is not None and event.asset_materialization is not None
    return event.asset_materialization


ALL = {
    "synth",
    "batch[synthetic]",
    "contract[synthetic]",
    "snapshot",
    "trident",
    "export_trident",
    "export_student",
}


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory):
    """The whole graph run from nothing, run again, and run after a parameter changed."""
    project = Project(tmp_path_factory.mktemp("history"))
    with dg.DagsterInstance.ephemeral() as instance:
        runs, materializations = [], []
        for seed in (7, 7, 8):
            project.write("params.yaml", f"seed: {seed}\n")
            runs.append(materialise_graph(project.root, instance))
            materializations.append({key: materialization(instance, key) for key in ("snapshot", "trident")})
        yield runs, materializations


def version(of: dg.AssetMaterialization) -> str:
    return (of.tags or {})["dagster/data_version"]


def test_the_first_run_makes_everything(history):
    runs, _ = history
    assert {asset.name for asset in runs[0].assets} == ALL
    assert [asset.name for asset in runs[0].assets if asset.cached] == []


def test_the_second_run_finds_everything_cached_in_the_same_versions(history):
    runs, materializations = history
    assert {asset.name for asset in runs[1].assets if asset.cached} == ALL
    first, second, _ = (found["trident"] for found in materializations)
    assert (first.metadata["cached"].value, second.metadata["cached"].value) == (False, True)
    assert version(first) == version(second)


def test_a_changed_parameter_makes_new_versions_downstream(history):
    runs, materializations = history
    assert not any(asset.cached for asset in runs[2].assets)
    assert version(materializations[2]["trident"]) != version(materializations[1]["trident"])


def test_metrics_and_curves_are_in_the_metadata_cached_or_not(history):
    _, materializations = history
    for found in materializations:
        assert found["snapshot"].metadata["pages.all"].value == 1.0
        assert "data:image/png;base64," in str(found["trident"].metadata["curves"].value)
