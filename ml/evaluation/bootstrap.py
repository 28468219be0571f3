"""Paired bootstrap over documents: is one model better than another, or were the pages just kind to it?

Documents are resampled and not pages, because pages of one document are alike. Both models are scored on the
same resamples, so what is hard about a document cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml.evaluation.evaluator import hits_of
from ml.evaluation.layout import ap50, join

Row = dict[str, Any]  # a row of an evaluation's `documents`
Figure = Callable[[Sequence[Row]], float]


def _f1(part: str) -> Figure:
    def figure(rows: Sequence[Row]) -> float:
        matched = sum(row[part]["matched"] for row in rows)
        total = sum(row[part]["truth"] + row[part]["found"] for row in rows)
        return 2 * matched / total if total else 0.0

    return figure


def _cer(rows: Sequence[Row]) -> float:
    characters = sum(row["reading"]["characters"] for row in rows)
    return sum(row["reading"]["edits"] for row in rows) / characters if characters else 0.0


def _layout(rows: Sequence[Row]) -> float:
    return ap50(join([hits_of(row["layout"]) for row in rows]))


#: Share of resamples in which a challenger must lose before it is held to be worse.
CERTAIN = 0.95

#: The figures that models are compared by: where they lie, how rows make them, whether more is better.
FIGURES: dict[str, tuple[str, Figure, bool]] = {
    "word_f1": ("words", _f1("words"), True),
    "cer": ("reading", _cer, False),
    "end_to_end_f1": ("end_to_end", _f1("end_to_end"), True),
    "layout_ap50": ("layout", _layout, True),
}


@dataclass(frozen=True)
class Comparison:
    """Challenger less champion on one figure, positive where the challenger is better."""

    figure: str
    challenger: float
    champion: float
    gain: float
    low: float  # 95 % interval of the gain
    high: float
    worse: float  # share of resamples in which the challenger loses by more than the tolerance

    @property
    def certainly_worse(self) -> bool:
        """Whether the loss is more than what other documents would have made of it."""
        return self.worse >= CERTAIN


def compare(
    challenger: Sequence[Row], champion: Sequence[Row], *, resamples: int, tolerance: float, seed: int
) -> list[Comparison]:
    """Compare two evaluations of the same documents on every figure that both have.

    Raises ValueError where the documents differ: then nothing is paired.
    """
    names = [[row["document"] for row in rows] for rows in (challenger, champion)]
    if names[0] != names[1]:
        raise ValueError("the two evaluations are of different documents")
    draws = np.random.default_rng(seed).integers(0, len(names[0]), (resamples, len(names[0])))
    results = []
    for name, (part, figure, more_is_better) in FIGURES.items():
        if not all(part in row for rows in (challenger, champion) for row in rows):
            continue
        sign = 1.0 if more_is_better else -1.0
        gains = np.array(
            [
                sign * (figure([challenger[i] for i in draw]) - figure([champion[i] for i in draw]))
                for draw in draws
            ]
        )
        ours, theirs = figure(challenger), figure(champion)
        low, high = np.percentile(gains, [2.5, 97.5])
        worse = float((gains < -tolerance).mean())
        results.append(Comparison(name, ours, theirs, sign * (ours - theirs), float(low), float(high), worse))
    return results
