from __future__ import annotations

import threading
from collections import Counter

import numpy as np
import pytest

from ml.errors import InputError
from ml.serving.client import ServedPredictor, TritonRunner, VersionMovedError
from ml.serving.promotion import promote, rollback, serve_champions
from ml.serving.server import EmbeddedTriton

PAGE = np.full((320, 256, 3), 255, np.uint8)


def text_served(url: str) -> str:
    predictor = ServedPredictor(url, "trident")
    try:
        return predictor.read(PAGE).text
    finally:
        predictor.close()


def test_promotion_and_rollback_move_what_is_read(triton, repository, publish):
    publish("one")
    publish("two")
    for number, text in ((1, "one"), (2, "two")):
        move = promote(repository, "trident", number, triton.control)
        assert (move.now, text_served(triton.url)) == (number, text)
    assert triton.control.served("trident") == (1, 2)
    assert rollback(repository, "trident", triton.control).now == 1
    assert text_served(triton.url) == "one"
    assert repository.champions() == {"trident": 1}
    assert [e.action for e in repository.registry().audit if e.action != "publish"] == [
        "promote",
        "promote",
        "rollback",
    ]


@pytest.mark.parametrize(
    ("kind", "why"), [({"op": "Unknown"}, "cannot load"), ({"noise": True}, "the golden check failed")]
)
def test_a_version_that_does_not_load_or_reads_otherwise_leaves_the_champion_serving(
    triton, repository, publish, kind, why
):
    publish("one")
    publish("bad", **kind)
    promote(repository, "trident", 1, triton.control)
    config = (repository.folder / "trident" / "config.pbtxt").read_bytes()
    with pytest.raises(
        InputError, match=f"version 2 was not promoted: .*{why}.*; version 1 stays the champion"
    ):
        promote(repository, "trident", 2, triton.control)
    assert text_served(triton.url) == "one"
    assert triton.control.served("trident") == (1,)
    assert triton.control.served("trident-challenger") == ()
    assert repository.champions() == {"trident": 1}
    assert (repository.folder / "trident" / "config.pbtxt").read_bytes() == config
    assert repository.registry().audit[-1].action == "refuse"


def test_a_version_whose_files_changed_is_not_promoted(triton, repository, publish):
    publish("one")
    (repository.graph("trident", 1) / "card.json").write_text("{}")
    with pytest.raises(InputError, match=r"digest differs.*still has no champion"):
        promote(repository, "trident", 1, triton.control)


def test_under_traffic_no_request_fails_and_no_unchecked_version_answers(triton, repository, publish):
    for text, kind in (("one", {}), ("two", {}), ("bad", {"noise": True})):
        publish(text, **kind)
    promote(repository, "trident", 1, triton.control)
    answers: Counter[str] = Counter()
    stop = threading.Event()

    def ask() -> None:
        predictor = ServedPredictor(triton.url, "trident")
        while not stop.is_set():
            try:
                answers[predictor.read(PAGE).text] += 1
            except InputError as error:
                answers[str(error)] += 1
        predictor.close()

    def ask_knowing_no_versions() -> None:
        runner = TritonRunner(triton.url, "trident")
        inputs = {"image": np.zeros((1, 256, 256, 3), np.uint8), "boxes": np.zeros((1, 1, 4), np.float32)}
        while not stop.is_set():
            try:
                answers["steady" if runner(inputs)["word_boxes"][0, 0, 0] == 32.0 else "unchecked"] += 1
            except VersionMovedError:
                runner.close()
                runner = TritonRunner(triton.url, "trident")
            except InputError as error:
                answers[str(error)] += 1
        runner.close()

    askers = [threading.Thread(target=ask), threading.Thread(target=ask_knowing_no_versions)]
    for asker in askers:
        asker.start()
    try:
        promote(repository, "trident", 2, triton.control)
        with pytest.raises(InputError):
            promote(repository, "trident", 3, triton.control)
        rollback(repository, "trident", triton.control)
        promote(repository, "trident", 2, triton.control)
    finally:
        stop.set()
        for asker in askers:
            asker.join()
    assert set(answers) == {"one", "two", "steady"}, answers


def test_an_open_reader_goes_on_with_the_new_champion(triton, repository, publish):
    publish("one")
    publish("two")
    promote(repository, "trident", 1, triton.control)
    reader = ServedPredictor(triton.url, "trident")
    assert (reader.read(PAGE).text, reader.version) == ("one", 1)
    promote(repository, "trident", 2, triton.control)
    assert (reader.read(PAGE).text, reader.version) == ("two", 2)
    rollback(repository, "trident", triton.control)
    assert (reader.read(PAGE).text, reader.version) == ("one", 1)


def test_a_pinned_runner_keeps_the_version_before_the_champion(triton, repository, publish):
    publish("one")
    publish("two")
    promote(repository, "trident", 1, triton.control)
    promote(repository, "trident", 2, triton.control)
    assert TritonRunner(triton.url, "trident", version=1).version == 1


def test_a_server_started_later_serves_the_champion_of_the_registry(
    environment, repository, publish, tmp_path, triton
):
    publish("one")
    publish("two")
    promote(repository, "trident", 1, triton.control)
    promote(repository, "trident", 2, triton.control)
    rollback(repository, "trident", None)  # the running server is not told
    assert text_served(triton.url) == "two"
    with EmbeddedTriton(repository.folder, logs=tmp_path / "logs", environment=environment) as later:
        assert serve_champions(repository, later.control) == {"trident": 1}
        assert text_served(later.url) == "one"


def test_one_champion_that_does_not_load_does_not_keep_the_others_out(triton, repository, publish, tmp_path):
    publish("one")
    promote(repository, "trident", 1, triton.control)
    with repository.writing() as registry:
        registry.models["broken"] = registry.models["trident"].model_copy(deep=True)
        repository.save(registry)
    (repository.folder / "broken" / "1").mkdir(parents=True)
    (repository.folder / "broken" / "1" / "model.onnx").write_bytes(b"\x00")
    with pytest.raises(InputError, match="broken"):
        serve_champions(repository, triton.control)
    assert text_served(triton.url) == "one"
