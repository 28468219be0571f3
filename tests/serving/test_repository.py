from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from ml.config import ServingConfig
from ml.errors import InputError, UsageError
from ml.serving.promotion import rollback
from ml.serving.repository import Repository

from .graphs import write_trident


def crown(repository: Repository, *versions: int) -> None:
    """Let versions be champions in this order, as promotions with a server would."""
    with repository.writing() as registry:
        registry.models["trident"].champions = list(versions)
        repository.save(registry)


def test_the_same_graph_again_is_the_same_version_and_nothing_is_written(repository, publish, tmp_path):
    assert (publish("one"), publish("two")) == (1, 2)
    before = {p: p.stat().st_mtime_ns for p in repository.folder.rglob("*") if p.name != ".lock"}
    assert publish("one") == 1
    assert before == {p: p.stat().st_mtime_ns for p in repository.folder.rglob("*") if p.name != ".lock"}


def test_a_version_holds_the_bytes_that_were_published(repository, tmp_path):
    graph = write_trident(tmp_path / "trident")
    repository.publish(graph, "trident", ServingConfig())
    for name in ("model.onnx", "card.json"):
        assert (repository.graph("trident", 1) / name).read_bytes() == (graph / name).read_bytes()


def test_old_versions_go_but_champion_and_previous_stay(repository, publish):
    for text in ("one", "two", "tre"):
        publish(text)
    crown(repository, 1, 2)
    for text in ("for", "fiv", "six"):
        publish(text, keep=2)
    assert set(repository.model("trident").versions) == {1, 2, 5, 6}
    assert sorted(p.name for p in (repository.folder / "trident").iterdir() if p.is_dir()) == [
        "1",
        "2",
        "5",
        "6",
    ]
    assert [e.version for e in repository.registry().audit if e.action == "prune"] == [3, 4]


def test_a_number_is_not_used_again_after_its_version_went(repository, publish):
    publish("one", keep=1)
    publish("two", keep=1)
    assert set(repository.model("trident").versions) == {2}
    assert publish("one", keep=1) == 3


def test_what_a_killed_publisher_left_is_no_version_and_is_cleared(repository, publish):
    publish("one")
    stage = repository.folder / "trident" / ".stage-2"
    stage.mkdir()
    (stage / "model.onnx").write_bytes(b"half")
    assert set(repository.model("trident").versions) == {1}
    assert publish("two") == 2
    assert not stage.exists()


@pytest.mark.parametrize("missing", ["model.onnx", "card.json"])
def test_a_graph_folder_without_its_parts_is_refused(repository, tmp_path, missing):
    graph = write_trident(tmp_path / "trident")
    (graph / missing).unlink()
    with pytest.raises(InputError, match=r"no model.onnx with a card.json"):
        repository.publish(graph, "trident", ServingConfig())


def test_a_file_that_is_no_onnx_is_refused_and_leaves_no_version(repository, tmp_path):
    graph = write_trident(tmp_path / "trident")
    (graph / "model.onnx").write_bytes(b"\x00not onnx")
    with pytest.raises(InputError, match=r"model\.onnx: "):
        repository.publish(graph, "trident", ServingConfig())
    assert not repository.registry().models


def test_links_out_of_a_graph_folder_are_refused(repository, tmp_path):
    graph = write_trident(tmp_path / "trident")
    (graph / "extra").symlink_to("/etc/hostname")
    with pytest.raises(InputError, match="plain files only"):
        repository.publish(graph, "trident", ServingConfig())


@pytest.mark.parametrize("name", ["../trident", "a/b", "", ".hidden", "trident-challenger"])
def test_a_name_that_is_no_folder_of_the_repository_is_refused(repository, tmp_path, name):
    with pytest.raises(UsageError, match="cannot be a model's name"):
        repository.publish(write_trident(tmp_path / "trident"), name, ServingConfig())


def test_a_changed_version_is_found_out(repository, publish):
    publish("one")
    version = repository.version("trident", 1)
    repository.require_intact("trident", version)
    (repository.graph("trident", 1) / "card.json").write_text("{}")
    with pytest.raises(InputError, match="digest differs"):
        repository.require_intact("trident", version)


def test_the_configuration_types_every_tensor_and_carries_the_card(repository, publish):
    publish("one")
    crown(repository, 1)
    model = repository.model("trident")
    config = text_format.Parse(repository.config_text("trident", model), model_config_pb2.ModelConfig())
    assert (config.name, config.backend, config.max_batch_size) == ("trident", "onnxruntime", 8)
    assert config.dynamic_batching.max_queue_delay_microseconds == 2000
    inputs = {t.name: (model_config_pb2.DataType.Name(t.data_type), tuple(t.dims)) for t in config.input}
    assert inputs == {"image": ("TYPE_UINT8", (-1, -1, 3)), "boxes": ("TYPE_FP32", (-1, 4))}
    assert {t.name for t in config.output} >= {"word_boxes", "given_text", "region_labels"}
    assert json.loads(config.parameters["card"].string_value) == model.versions[1].card


def test_champion_and_the_one_before_are_served_when_one_configuration_describes_both(repository, publish):
    publish("one")
    publish("two")
    crown(repository, 1, 2)
    config = text_format.Parse(
        repository.config_text("trident", repository.model("trident")), model_config_pb2.ModelConfig()
    )
    assert list(config.version_policy.specific.versions) == [1, 2]
    assert {"card", "card.1"} <= set(config.parameters)


def test_nothing_above_the_champion_is_served(repository, publish):
    publish("one")
    publish("two")
    crown(repository, 2, 1)
    config = text_format.Parse(
        repository.config_text("trident", repository.model("trident")), model_config_pb2.ModelConfig()
    )
    assert list(config.version_policy.specific.versions) == [1]


def test_rollback_without_a_server_moves_the_champion_and_its_configuration(repository, publish):
    publish("one")
    publish("two")
    crown(repository, 1, 2)
    assert rollback(repository, "trident", None).now == 1
    assert repository.champions() == {"trident": 1}
    assert "versions: 1" in (repository.folder / "trident" / "config.pbtxt").read_text()
    assert repository.registry().audit[-1].action == "rollback"
    with pytest.raises(UsageError, match="no champion to go back to"):
        rollback(repository, "trident", None)


def test_a_damaged_registry_is_named_with_the_place(repository, publish):
    publish("one")
    path = repository.folder / "registry.json"
    plain = json.loads(path.read_text())
    plain["models"]["trident"]["versions"]["1"]["bytes"] = "many"
    path.write_text(json.dumps(plain))
    with pytest.raises(InputError, match=r"registry\.json: damaged at 'models\.trident\.versions\.1\.bytes'"):
        repository.registry()


def test_unknown_models_and_versions_are_answered_with_the_known_ones(repository, publish):
    with pytest.raises(UsageError, match="nothing is published yet"):
        repository.model("trident")
    publish("one")
    with pytest.raises(UsageError, match="published are: trident"):
        repository.model("student")
    with pytest.raises(UsageError, match="no version 7; there are: 1"):
        repository.version("trident", 7)


def test_every_act_is_in_the_audit_log_with_who_and_when(tmp_path: Path):
    repository = Repository(tmp_path / "repository", now=lambda: "2030-01-01T00:00:00+00:00", by="run 42")
    repository.publish(
        write_trident(tmp_path / "trident"), "trident", ServingConfig(), note="forced: a reason"
    )
    (event,) = repository.registry().audit
    assert (event.action, event.by, event.time, event.note) == (
        "publish",
        "run 42",
        "2030-01-01T00:00:00+00:00",
        "forced: a reason",
    )
