"""Fine-tuning that does not forget: old pages are shown among the new, and both are measured before and after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from ml.evaluation.evaluator import evaluate
from ml.models.processor import Card
from ml.pages.page import Page
from ml.predictor import Predictor
from ml.runners import TorchRunner
from ml.training.engine import Batch, Steps


class ReplaySteps(Steps):
    """New pages' batches, a share of them replaced by batches of old pages; validation is on the new ones."""

    def __init__(self, new: Steps, old: Steps, share: float, seed: int) -> None:
        self.new, self.old, self.share, self.seed = new, old, share, seed

    def __getitem__(self, step: int) -> Batch:
        draw = np.random.default_rng([self.seed, step, 2]).random()
        return (self.old if draw < self.share else self.new)[step]

    def validation(self) -> Iterable[Batch]:
        return self.new.validation()


#: The figures that the report compares, by their names in `evaluate`'s answer.
FIGURES = (("words", "f1"), ("reading", "cer"), ("end_to_end", "f1"), ("layout", "ap50"))


def figures(
    network: nn.Module, card: Card, sets: Mapping[str, Sequence[Page]]
) -> dict[str, dict[str, float]]:
    """What a network scores on named sets of pages, in evaluation mode."""
    from ml.export.graphs import graph_of  # noqa: PLC0415  (it needs both model families)

    predictor = Predictor(card, TorchRunner(graph_of(network.eval(), card)))
    scored: dict[str, dict[str, float]] = {}
    for name, pages in sets.items():
        values: dict[str, Any] = evaluate(predictor, pages).to_json()
        scored[name] = {f"{a}_{b}": values[a][b] for a, b in FIGURES if a in values}
    return scored


def comparison(before: dict[str, dict[str, float]], after: dict[str, dict[str, float]]) -> str:
    """Both as lines to read: a set a line, each figure before and after."""
    return "\n".join(
        f"  on {name}: "
        + ", ".join(
            f"{figure.replace('_', ' ')} {value:.3f} -> {after[name][figure]:.3f}"
            for figure, value in row.items()
        )
        for name, row in before.items()
    )


def flat(tree: dict[str, Any]) -> dict[str, float]:
    """Nested figures as one level, their names joined by dots."""
    rows: dict[str, float] = {}
    for name, value in tree.items():
        rows |= (
            {f"{name}.{k}": v for k, v in flat(value).items()} if isinstance(value, dict) else {name: value}
        )
    return {name.replace("the ", "").replace(" ", "_"): value for name, value in rows.items()}
