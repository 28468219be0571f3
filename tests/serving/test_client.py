from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ml.errors import InputError, UsageError
from ml.predictor import open_predictor
from ml.serving.client import ServedPredictor, TritonRunner

from .graphs import COLUMNS, SLOTS, trident_card


def inputs(pages: int = 1, boxes: int = 1, side: int = 256) -> dict[str, np.ndarray]:
    return {
        "image": np.zeros((pages, side, side, 3), np.uint8),
        "boxes": np.zeros((pages, boxes, 4), np.float32),
    }


def test_the_card_and_the_version_come_from_the_server(served):
    server, _ = served
    runner = TritonRunner(server.url, "trident")
    assert (runner.card, runner.version) == (trident_card(), 1)


def test_the_server_reads_what_the_graph_reads(served):
    server, repository = served
    page = np.full((700, 500, 3), 255, np.uint8)
    boxes = np.array([[10, 10, 60, 30], [80, 10, 120, 30]], np.float32)
    local = open_predictor(repository.graph("trident", 1)).read(page, boxes)
    assert ServedPredictor(server.url, "trident").read(page, boxes) == local
    assert [word.text for word in local.given] == ["page", "page"]


def test_a_batch_of_pages_comes_back_page_by_page(served):
    server, _ = served
    outputs = TritonRunner(server.url, "trident")(inputs(pages=3, boxes=2))
    assert outputs["word_text"].shape == (3, SLOTS, COLUMNS)
    assert outputs["given_text"].shape == (3, 2, COLUMNS)


def test_requests_of_different_shapes_at_once_are_each_answered_in_their_own(served):
    server, _ = served

    def ask(boxes: int) -> int:
        runner = TritonRunner(server.url, "trident")
        shapes = {
            runner(inputs(boxes=boxes, side=256 + 32 * (boxes % 2)))["given_text"].shape[1] for _ in range(10)
        }
        runner.close()
        return shapes.pop() if len(shapes) == 1 else -1

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, [1, 2, 3, 3])) == [1, 2, 3, 3]


def test_a_wrong_type_is_refused_before_it_is_sent(served):
    server, _ = served
    with pytest.raises(InputError, match="takes 'image' as UINT8, not float64"):
        TritonRunner(server.url, "trident")(inputs() | {"image": np.zeros((1, 256, 256, 3))})


def test_the_servers_reason_reaches_the_caller(served):
    server, _ = served
    with pytest.raises(InputError, match=r"gave no answer: .*shape"):
        TritonRunner(server.url, "trident")(inputs() | {"boxes": np.zeros((1, 1, 5), np.float32)})


def test_an_unknown_model_or_version_or_server_is_a_usage_error(served):
    server, _ = served
    with pytest.raises(UsageError, match="does not serve 'student'"):
        TritonRunner(server.url, "student")
    with pytest.raises(UsageError, match="serves trident in version 1, not 9"):
        TritonRunner(server.url, "trident", version=9)
    with pytest.raises(UsageError, match=r"no Triton server answers at 127\.0\.0\.1:1 "):
        TritonRunner("127.0.0.1:1", "trident")
    with pytest.raises(UsageError, match="give HOST:PORT"):
        TritonRunner("http://127.0.0.1:8001/", "trident")
