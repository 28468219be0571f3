"""One evaluator for every form of a model: torch network, ONNX graph and served model are scored alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np

from ml.errors import InputError
from ml.evaluation.detection import DetectionCounts, count_words
from ml.evaluation.layout import (
    MAX_DETECTIONS,
    Hits,
    LayoutScores,
    PageLayout,
    average_precision,
    hits,
    label_space,
    page_layout,
)
from ml.evaluation.text import ReadingCounts, count_reading
from ml.pages.page import Page
from ml.pages.result import PageResult

#: Pages that are read once more, without given boxes, to time a plain read.
TIMED_PAGES = 20


class Reader(Protocol):
    """What is evaluated (`ml.predictor.Predictor`)."""

    card: dict[str, Any]

    def read(self, pixels: np.ndarray, boxes: np.ndarray | None = None) -> PageResult: ...


@dataclass
class DocumentCounts:
    """All that the figures need of one document; figures of any set of documents follow from their counts."""

    document: str
    pages: int = 0
    words: DetectionCounts = field(default_factory=DetectionCounts)
    end_to_end: DetectionCounts = field(default_factory=DetectionCounts)
    reading: ReadingCounts = field(default_factory=ReadingCounts)
    layouts: list[PageLayout] = field(default_factory=list)


@dataclass(frozen=True)
class Scores:
    """The figures of one model on some pages. A part that the model or the truth lacks is None."""

    model: str
    pages: int
    words: DetectionCounts | None
    end_to_end: DetectionCounts | None
    reading: ReadingCounts | None
    layout: LayoutScores | None
    labels: tuple[str, ...]  # in which the layout is scored
    latency_ms: tuple[float, float]  # median and 95th percentile of a plain read
    documents: tuple[DocumentCounts, ...]

    def to_json(self) -> dict[str, Any]:
        """The evaluation as it is written to disk, `documents` holding what a bootstrap resamples."""
        result: dict[str, Any] = {"model": self.model, "pages": self.pages}
        if self.words is not None:
            result["words"] = {
                "precision": round(self.words.precision, 6),
                "recall": round(self.words.recall, 6),
                "f1": round(self.words.f1, 6),
            }
        if self.reading is not None:
            result["reading"] = {
                "cer": round(self.reading.cer, 6),
                "exact": round(self.reading.exact_share, 6),
            }
        if self.end_to_end is not None:
            result["end_to_end"] = {"f1": round(self.end_to_end.f1, 6)}
        if self.layout is not None:
            result["layout"] = {
                "ap": round(self.layout.ap, 6),
                "ap50": round(self.layout.ap50, 6),
                "max_detections": MAX_DETECTIONS,
                "labels": {name: round(value, 6) for name, value in self.layout.by_label.items()},
            }
        result["latency_ms"] = {"p50": round(self.latency_ms[0], 3), "p95": round(self.latency_ms[1], 3)}
        result["documents"] = [self._document(document) for document in self.documents]
        return result

    def _document(self, document: DocumentCounts) -> dict[str, Any]:
        row: dict[str, Any] = {"document": document.document, "pages": document.pages}
        for name, whole in (
            ("words", self.words),
            ("end_to_end", self.end_to_end),
            ("reading", self.reading),
        ):
            if whole is not None:
                row[name] = asdict(getattr(document, name))
        if self.layout is not None:
            found = hits(document.layouts, len(self.labels))
            row["layout"] = {
                "truth": found.truth.tolist(),
                "found": [
                    [int(label), round(float(score), 6), int(hit)]
                    for label, score, hit in zip(found.labels, found.scores, found.hit, strict=True)
                ],
            }
        return row


def hits_of(row: dict[str, Any]) -> Hits:
    """The layout counts of one row of `documents`, as they were before they were written."""
    found = np.array(row["found"], dtype=np.float64).reshape(-1, 3)
    return Hits(
        np.array(row["truth"], dtype=np.int64), found[:, 0].astype(np.int64), found[:, 1], found[:, 2] > 0.5
    )


def evaluate(reader: Reader, pages: Iterable[Page], clock: Callable[[], float] = time.perf_counter) -> Scores:
    """Score `reader` on `pages`.

    A page whose words (or regions) are not annotated takes no part in the word (or region) figures. Words are
    scored only where the model's card names a charset, regions only where it names labels; texts are read
    once in the boxes that the model finds (end to end) and once in the true boxes (reading).

    Raises InputError where no page is given, or no page has the truth that this model is scored by.
    """
    labels = tuple(reader.card.get("labels") or ())
    reads_words, space = bool(reader.card.get("charset")), label_space(labels)
    documents: dict[str, DocumentCounts] = {}
    layouts: list[PageLayout] = []
    times: list[float] = []
    has_words = has_regions = False
    for page in pages:
        counts = documents.setdefault(page.document, DocumentCounts(page.document))
        counts.pages += 1
        pixels = page.pixels()
        words = page.words if reads_words else None
        given = np.array([word.box for word in words], np.float32) if words else None
        result = reader.read(pixels, given)
        if words is not None:
            has_words = True
            found, equal = count_words(words, result.words)
            counts.words, counts.end_to_end = counts.words + found, counts.end_to_end + equal
            texts = [word.text for word in result.given]
            if len(texts) != len(words):
                raise InputError(
                    f"the model read {len(texts)} of {len(words)} given words of page {page.id[:12]}"
                )
            counts.reading += count_reading(zip((word.text for word in words), texts, strict=True))
        if page.regions is not None and labels:
            has_regions = True
            layout = page_layout(page.regions, result.regions, space)
            counts.layouts.append(layout)
            layouts.append(layout)
        if len(times) < TIMED_PAGES:  # after the read above, which warmed the model up for this shape
            began = clock()
            reader.read(pixels)
            times.append((clock() - began) * 1e3)
    if not documents:
        raise InputError("there is no page to evaluate on; give a folder of pages that holds some")
    if not has_words and not has_regions:
        raise InputError(
            "no page has words or regions that this model could be scored by; give annotated pages"
        )
    rows = tuple(documents[name] for name in sorted(documents))
    return Scores(
        model=str(reader.card.get("name", "")),
        pages=sum(row.pages for row in rows),
        words=sum((row.words for row in rows), DetectionCounts()) if has_words else None,
        end_to_end=sum((row.end_to_end for row in rows), DetectionCounts()) if has_words else None,
        reading=sum((row.reading for row in rows), ReadingCounts()) if has_words else None,
        layout=average_precision(layouts, space) if has_regions else None,
        labels=space,
        latency_ms=(float(np.percentile(times, 50)), float(np.percentile(times, 95))),
        documents=rows,
    )
