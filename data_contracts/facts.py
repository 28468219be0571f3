"""What can be seen on the pages of a batch, as tables: one row a page, a word, a region.

Facts only; what must hold is said in `suites`. A fact that cannot be known (the ink of a page that does not
decode) is null, and rules pass over nulls.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import pandas as pd

from data_contracts.likeness import fingerprint, first_twins
from ml.models.charset import Charset
from ml.pages.page import Page, Region, Word, decode, page_id
from ml.pages.store import PageStore
from ml.progress import Meter

#: Grey levels from the paper's (the page's median) at which a pixel is ink. Dashes on worn scans have 30.
INK_STEP = 25

#: Pages from which on more processes are worth their start (2 s), and pages that one looks at in a go.
MANY, CHUNK = 500, 64


@dataclass(frozen=True)
class Facts:
    """Tables with a running index. `page` is the page's id and `item` what people know it by.

    pages:   page item document width height decodes error id_true size_true short_edge ink twin words regions
             annotated line_gap word_height outside_charset
    words:   page row item width height text characters x1 y1 x2 y2 finite short_side outside ink
    regions: the same with label for text and characters, repeats, and without ink

    `outside` is by how many pixels a box leaves its page, `short_side` the shorter side of a box (negative
    when its corners are swapped), `ink` a share, `twin` a page of another document that looks the same,
    `line_gap` the first word whose line number skips or goes back, `repeats` that the page has it before.
    `fingerprints` are those of the pages, uint64 (N, 4), zero for a page that shows nothing (`likeness`).
    """

    pages: pd.DataFrame
    words: pd.DataFrame
    regions: pd.DataFrame
    fingerprints: np.ndarray

    def table(self, name: str) -> pd.DataFrame:
        return {"pages": self.pages, "words": self.words, "regions": self.regions}[name]


def facts_of(store: PageStore, charset: Charset | None = None, workers: int = 2) -> Facts:
    """Look at every page of `store`. Without `charset`, `outside_charset` is null.

    Raises InputError when the store itself is damaged.
    """
    return joined(observations(store, charset, workers))


def facts_of_pages(pages: Iterable[Page], charset: Charset | None = None) -> Facts:
    """The same for pages that come from anywhere."""
    return joined([_observe(pages, charset)])


@dataclass(frozen=True)
class Observation:
    """What is seen on some pages by themselves: `Facts` without what takes all pages to know."""

    pages: pd.DataFrame
    words: pd.DataFrame
    regions: pd.DataFrame
    fingerprints: np.ndarray


def observations(store: PageStore, charset: Charset | None = None, workers: int = 2) -> Iterator[Observation]:
    """What is seen on the pages of `store`, run of pages by run, in order; in `workers` processes if many."""
    chunks = [range(start, min(start + CHUNK, len(store))) for start in range(0, len(store), CHUNK)]
    look = partial(_observe_rows, store, charset)
    with Meter(len(store), f"facts of {store.directory.name}", "pages") as meter:
        if len(store) < MANY or workers < 2:
            for chunk in chunks:
                yield look(chunk)
                meter.update(len(chunk))
            return
        # Spawned: the progress bar is a thread, and a forked child of a threaded process may deadlock.
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _one_thread) as pool:
            for observation in pool.map(look, chunks):
                yield observation
                meter.update(len(observation.pages))


def joined(observed: Iterable[Observation]) -> Facts:
    """The facts of all pages that were observed, in that order."""
    parts = list(observed) or [_observe((), None)]
    frame = pd.concat([part.pages for part in parts], ignore_index=True)
    starts = np.cumsum([0, *(len(part.pages) for part in parts)])
    words, regions = (
        pd.concat(
            [table.assign(row=table["row"] + start) for table, start in zip(tables, starts, strict=False)],
            ignore_index=True,
        )
        for tables in ([part.words for part in parts], [part.regions for part in parts])
    )
    fingerprints = np.concatenate([part.fingerprints for part in parts])
    frame["twin"] = twins(list(frame["item"]), pd.factorize(frame["document"])[0], fingerprints)
    heights = (words["y2"] - words["y1"]).where(words["finite"])
    frame["word_height"] = heights.groupby(words["row"]).median().reindex(frame.index)
    place = regions[["row", "label"]].join(regions[["x1", "y1", "x2", "y2"]].round())
    regions["repeats"] = place.duplicated()
    return Facts(frame, words, regions, fingerprints)


def twins(items: Sequence[str], groups: np.ndarray, fingerprints: np.ndarray) -> list[str | None]:
    """The item of another of the `groups` that each page resembles. What shows nothing resembles none."""
    found: list[str | None] = [None] * len(items)
    worth = np.flatnonzero(fingerprints.any(axis=1))
    for place, twin in zip(worth, first_twins(fingerprints[worth], groups[worth]), strict=True):
        if twin >= 0:
            found[place] = items[int(worth[twin])]
    return found


def _one_thread() -> None:
    cv2.setNumThreads(1)  # the processes are the parallelism


def _observe_rows(store: PageStore, charset: Charset | None, rows: Sequence[int]) -> Observation:
    return _observe((store[row] for row in rows), charset)


def _observe(pages: Iterable[Page], charset: Charset | None) -> Observation:
    rows: list[dict[str, object]] = []
    words, regions = _Boxes(), _Boxes()
    fingerprints: list[np.ndarray] = []
    for number, page in enumerate(pages):
        seen = _look(page)
        rows.append(_page_row(page, seen, charset))
        fingerprints.append(_NOTHING if seen.grey is None else fingerprint(seen.grey))
        words.add(page, number, page.words or (), [word.text for word in page.words or ()], seen.ink_map)
        regions.add(page, number, page.regions or (), [region.label for region in page.regions or ()], None)
    word_frame = words.frame("text")
    word_frame["characters"] = word_frame["text"].str.strip().str.len().astype("int64")
    return Observation(
        pd.DataFrame(rows, columns=list(_PAGE_COLUMNS)).astype(_PAGE_COLUMNS),
        word_frame,
        regions.frame("label").drop(columns="ink"),
        np.array(fingerprints, np.uint64).reshape(-1, len(_NOTHING)),
    )


_PAGE_COLUMNS = {
    "page": object,
    "item": object,
    "document": object,
    "width": "int64",
    "height": "int64",
    "short_edge": "int64",
    "decodes": bool,
    "error": object,
    "id_true": bool,
    "size_true": object,  # True, False or, where nothing decodes, None
    "found_size": object,
    "ink": "float64",
    "words": "float64",  # NaN: not annotated
    "regions": "float64",
    "annotated": bool,
    "line_gap": "float64",
    "outside_charset": object,
}
_NOTHING = np.zeros(4, np.uint64)


@dataclass(frozen=True)
class _Seen:
    """What decoding a page shows."""

    grey: np.ndarray | None  # uint8 (H, W)
    ink_map: np.ndarray | None  # int32 (H + 1, W + 1), summed ink
    error: str = ""


def _look(page: Page) -> _Seen:
    try:
        grey = decode(page.image, "L")
    except ValueError as error:
        return _Seen(None, None, str(error))
    counts = cv2.calcHist([grey[::4]], [0], None, [256], [0, 256]).ravel().cumsum()  # of every fourth line
    paper = int(np.searchsorted(counts, counts[-1] / 2))
    ink = cv2.threshold(cv2.absdiff(grey, np.full_like(grey, paper)), INK_STEP, 1, cv2.THRESH_BINARY)[1]
    return _Seen(grey, cv2.integral(ink))


def _page_row(page: Page, seen: _Seen, charset: Charset | None) -> dict[str, object]:
    decodes = seen.grey is not None
    found = None if seen.grey is None else (seen.grey.shape[1], seen.grey.shape[0])
    texts = "".join("".join(word.text.split()) for word in page.words or ())  # for spaces: word_is_one
    return {
        "page": page.id,
        "item": page.source or page.id[:12],
        "document": page.document,
        "width": page.width,
        "height": page.height,
        "short_edge": min(page.width, page.height),
        "decodes": decodes,
        "error": seen.error,
        "id_true": page_id(page.image) == page.id,
        "size_true": None if found is None else found == (page.width, page.height),
        "found_size": None if found is None else f"{found[0]} x {found[1]}",
        "ink": np.nan if seen.ink_map is None else seen.ink_map[-1, -1] / max(1, page.width * page.height),
        "words": np.nan if page.words is None else len(page.words),
        "regions": np.nan if page.regions is None else len(page.regions),
        "annotated": page.words is not None or page.regions is not None,
        "line_gap": _line_gap([word.line for word in page.words or ()]),
        "outside_charset": None if charset is None else "".join(sorted(charset.outside(texts))),
    }


def _line_gap(lines: Sequence[int | None]) -> float:
    """Position of the first word whose line is neither that of the word before nor the next; -1 if none.

    NaN where lines are not given: nothing is known of the order.
    """
    known = [line for line in lines if line is not None]
    if not known:
        return np.nan
    if len(known) < len(lines):
        return float(next(place for place, line in enumerate(lines) if line is None))
    steps = np.diff(np.array([-1, *known]))
    wrong = np.flatnonzero((steps < 0) | (steps > 1))
    return float(wrong[0]) if len(wrong) else -1.0


class _Boxes:
    """Collects the boxes of many pages and computes on all of them at once."""

    def __init__(self) -> None:
        self._pages: list[tuple[str, str, int, int, int, int]] = []  # id, item, row, width, height, boxes
        self._boxes: list[np.ndarray] = []
        self._texts: list[str] = []
        self._ink: list[np.ndarray] = []

    def add(
        self,
        page: Page,
        row: int,
        boxed: Sequence[Word] | Sequence[Region],
        texts: list[str],
        ink_map: np.ndarray | None,
    ) -> None:
        if not boxed:
            return
        boxes = np.array([item.box for item in boxed], np.float64)  # (n, 4)
        self._pages.append((page.id, page.source or page.id[:12], row, page.width, page.height, len(boxes)))
        self._boxes.append(boxes)
        self._texts += texts
        self._ink.append(np.full(len(boxes), np.nan) if ink_map is None else _ink_inside(boxes, ink_map))

    def frame(self, text: str) -> pd.DataFrame:
        """One row a box; `text` names the column of its text or label."""
        boxes = np.concatenate(self._boxes) if self._boxes else np.empty((0, 4))
        ids, items, rows, widths, heights, counts = (
            zip(*self._pages, strict=True) if self._pages else ((),) * 6
        )
        spread = np.repeat(np.arange(len(ids)), np.array(counts, np.int64))
        width, height = np.array(widths, float)[spread], np.array(heights, float)[spread]
        x1, y1, x2, y2 = boxes.T
        finite = np.isfinite(boxes).all(1)
        with np.errstate(invalid="ignore"):
            outside = np.max([-x1, -y1, x2 - width, y2 - height, np.zeros(len(boxes))], axis=0)
            short = np.minimum(x2 - x1, y2 - y1)
        number = np.arange(len(spread)) - np.repeat(np.cumsum([0, *counts])[:-1], np.array(counts, np.int64))
        return pd.DataFrame(
            {
                "page": np.array(ids, object)[spread],
                "row": np.array(rows, np.int64)[spread],
                "item": np.array(items, object)[spread],
                "number": number,
                "width": width,
                "height": height,
                text: np.array(self._texts, object),
                "x1": x1,
                "y1": y1,
                "x2": x2,
                "y2": y2,
                "finite": finite,
                "short_side": np.where(finite, short, np.nan),
                "outside": np.where(finite, outside, np.nan),
                "ink": np.concatenate(self._ink) if self._ink else np.empty(0),
            }
        )


def _ink_inside(boxes: np.ndarray, ink_map: np.ndarray) -> np.ndarray:
    """Share of ink in each (n, 4) box, from the summed ink; NaN for a box that covers nothing of the page."""
    bottom, right = ink_map.shape[0] - 1, ink_map.shape[1] - 1
    whole = np.nan_to_num(boxes, nan=0.0, posinf=0.0, neginf=0.0)
    x1, x2 = (np.clip(edge, 0, right).astype(int) for edge in (np.floor(whole[:, 0]), np.ceil(whole[:, 2])))
    y1, y2 = (np.clip(edge, 0, bottom).astype(int) for edge in (np.floor(whole[:, 1]), np.ceil(whole[:, 3])))
    ink = ink_map[y2, x2] - ink_map[y1, x2] - ink_map[y2, x1] + ink_map[y1, x1]
    area = (x2 - x1) * (y2 - y1)
    proper = (x2 > x1) & (y2 > y1)
    return np.where(proper, ink / np.where(proper, area, 1), np.nan)
