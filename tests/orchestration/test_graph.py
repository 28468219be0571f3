import pytest

from ml.errors import UsageError
from orchestration.graph import StageGraph


def test_foreach_gives_one_stage_per_item(project):
    graph = StageGraph.load(project.root)
    assert list(graph) == [
        "synth",
        "batch@synthetic",
        "contract@synthetic",
        "snapshot",
        "trident",
        "export@trident",
        "export@student",
    ]
    assert graph["export@student"].outs[0].path == "graphs/student"
    assert (graph["export@student"].template, graph["export@student"].item) == ("export", "student")


def test_a_folder_needs_all_that_lies_in_it(project):
    graph = StageGraph.load(project.root)
    above = [stage.name for stage in graph.upstream(graph["snapshot"])]
    assert above == ["batch@synthetic", "contract@synthetic"]


def test_version_is_known_only_once_every_output_was_made(project):
    assert StageGraph.load(project.root)["snapshot"].version is None


def test_parameters_metrics_and_plots_are_told_apart(project):
    graph = StageGraph.load(project.root)
    assert graph["synth"].params == {"params.yaml": ("seed",)}
    assert [out.metric for out in graph["snapshot"].outs] == [False, True]
    assert graph["trident"].outs[1].plot == {"x": "step", "y": "loss"}


def test_a_missing_parameter_is_one_sentence(project):
    project.write("params.yaml", "other: 1\n")
    with pytest.raises(UsageError, match="Could not find 'seed'"):
        StageGraph.load(project.root)


def test_a_folder_without_dvc_is_one_sentence(tmp_path):
    with pytest.raises(UsageError, match=r"dvc\.yaml"):
        StageGraph.load(tmp_path)
