"""Is the exported graph the same model? Tensors against torch, and the metric on held-out pages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ml.errors import InputError
from ml.evaluation.evaluator import evaluate
from ml.models.processor import Arrays, Card, processor_for
from ml.pages import Page
from ml.predictor import Predictor
from ml.runners import Runner

#: Suppression and selection are decisions: where two scores differ by a rounding, one box in hundreds falls the other
#: way, and its nearest partner is another box. The metric bounds what such boxes cost.
AGREEING = 0.98


@dataclass(frozen=True)
class Parity:
    """How far a graph is from its network."""

    boxes: float  # distance that `AGREEING` of the found boxes keep, as a share of the canvas's longer side
    scores: float  # difference of score that they keep
    texts: float  # share of true boxes that read differently
    metrics: dict[str, float]  # figure by figure, network minus graph; positive is a loss
    pages: int


def found_difference(a: Arrays, b: Arrays, kind: str, edge: int, floor: float) -> np.ndarray:
    """Distances between two sets of found boxes, because equal scores may come in any order: (N, 2).

    Every box of `a` with a score over `floor` is held against the nearest box of `b`. A row holds how far its sides
    are off (share of `edge`) and its score.
    """
    rows = [np.zeros((0, 2))]
    for page in range(len(a[f"{kind}_scores"])):
        scores_a, scores_b = a[f"{kind}_scores"][page], b[f"{kind}_scores"][page]
        kept = scores_a > floor
        boxes = (
            np.abs(a[f"{kind}_boxes"][page][kept][:, None] - b[f"{kind}_boxes"][page][None]).max(-1) / edge
        )
        scores = np.abs(scores_a[kept][:, None] - scores_b[None])
        if boxes.size:
            nearest = np.maximum(boxes, scores).argmin(1)
            index = np.arange(len(nearest))
            rows.append(np.stack([boxes[index, nearest], scores[index, nearest]], 1))
    return np.concatenate(rows)


def measure(card: Card, network: Runner, graph: Runner, pages: Iterable[Page]) -> Parity:
    """Run both forms over `pages` and compare them, both ways round."""
    pages = list(pages)
    processor = processor_for(card)
    floor = min(card["thresholds"].values()) / 2
    rows = [np.zeros((0, 2))]
    read = differ = 0
    for page in pages:
        truth = np.array([word.box for word in page.words or ()], np.float32).reshape(-1, 4)
        inputs, _ = processor.prepare(page.pixels(), truth)
        a, b = network(inputs), graph(inputs)
        edge = max(inputs["image"].shape[1:3])
        for kind in ("word", "region"):
            if f"{kind}_boxes" in a:
                for one, other in ((a, b), (b, a)):
                    rows.append(found_difference(one, other, kind, edge, floor))
        if "given_text" in a:
            read += a["given_text"].shape[1]
            differ += int((a["given_text"] != b["given_text"]).any(-1).sum())
    figures = [_figures(evaluate(Predictor(card, runner), pages).to_json()) for runner in (network, graph)]
    metrics = {name: figures[0][name] - figures[1][name] for name in figures[0]}
    off = np.concatenate(rows)
    box, score = np.quantile(off, AGREEING, axis=0) if len(off) else (0.0, 0.0)
    return Parity(float(box), float(score), differ / max(1, read), metrics, len(pages))


def _figures(scores: dict) -> dict[str, float]:
    """The figures that must not fall, errors counted negative."""
    figures = {}
    for section, name, sign in (
        ("words", "f1", 1),
        ("reading", "cer", -1),
        ("end_to_end", "f1", 1),
        ("layout", "ap50", 1),
    ):
        if section in scores:
            figures[f"{section}_{name}"] = sign * scores[section][name]
    return figures


def judge(parity: Parity, tensor_bound: float, metric_bound: float, name: str) -> None:
    """Raise InputError, with the figure and its bound, where the graph is not the network."""
    for what, value, bound in (
        ("a box", parity.boxes, tensor_bound),
        ("a score", parity.scores, tensor_bound),
        *((metric, loss, metric_bound) for metric, loss in parity.metrics.items()),
    ):
        if not value <= bound:
            raise InputError(
                f"{name}: the exported graph is refused: {what} is off by {value:.5f}, allowed is {bound} "
                "(export.tensor_bound and export.metric_bound in params.yaml)"
            )
