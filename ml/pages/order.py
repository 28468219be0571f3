"""From word boxes to lines and reading order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from ml.pages.page import Box


class Boxed(Protocol):
    """Anything with a box."""

    @property
    def box(self) -> Box: ...


W = TypeVar("W", bound=Boxed)


def lines_of(words: Sequence[W]) -> list[list[W]]:
    """Group words into lines, and order lines and the words in them as they are read.

    A word joins the line whose end lies nearest on its left, when one's middle lies at the other's height;
    a gap wider than three times the word's height starts a new line, so that columns do not run together.
    Lines are then read column by column: a column is a run of lines whose horizontal spans overlap.
    """
    lines: list[list[W]] = []
    for word in sorted(words, key=lambda w: (w.box[0], w.box[1])):
        x1, y1, _, y2 = word.box
        middle, height = (y1 + y2) / 2, y2 - y1
        best, best_gap = None, 3.0 * height
        for line in lines:
            last = line[-1].box
            gap = x1 - last[2]
            level = last[1] < middle < last[3] or y1 < (last[1] + last[3]) / 2 < y2
            if level and -height < gap < best_gap:
                best, best_gap = line, gap
        if best is None:
            lines.append([word])
        else:
            best.append(word)
    return _by_column(lines)


def in_reading_order(items: Sequence[W]) -> list[W]:
    """Blocks (regions, say) column by column, each column from top to bottom."""
    # Blocks keep their distance by themselves: any gap between them parts columns.
    return [item for line in _by_column([[item] for item in items], gutter=0.0) for item in line]


def _span(line: Sequence[Boxed]) -> Box:
    boxes = [word.box for word in line]
    return (
        min(b[0] for b in boxes),
        min(b[1] for b in boxes),
        max(b[2] for b in boxes),
        max(b[3] for b in boxes),
    )


def _by_column(lines: list[list[W]], gutter: float = 0.8) -> list[list[W]]:
    """Order lines by recursive cuts: horizontal gaps first, then vertical ones (XY-cut, Nagy & Seth 1984).

    Columns stand at least `gutter` line heights apart.
    """
    if len(lines) < 2:
        return lines
    spans = [_span(line) for line in lines]
    gap = gutter * sorted(s[3] - s[1] for s in spans)[len(spans) // 2]
    columns = _cut(lines, spans, axis=0, gap=gap)
    if len(columns) > 1:
        return [line for column in columns for line in _by_column(column, gutter)]
    rows = _cut(lines, spans, axis=1, gap=0.0)
    if len(rows) > 1:
        # A full-width row (a heading, a rule of text) separates what is above from what is below it; only
        # consecutive rows that share one set of columns belong together.
        return [line for block in _blocks(rows, gap, gutter) for line in block]
    return [
        line for _, line in sorted(zip(spans, lines, strict=True), key=lambda pair: (pair[0][1], pair[0][0]))
    ]


def _cut(lines: list[list[W]], spans: list[Box], axis: int, gap: float) -> list[list[list[W]]]:
    """Split lines wherever their projections on `axis` leave a gap of more than `gap` pixels."""
    order = sorted(range(len(lines)), key=lambda i: spans[i][axis])
    groups: list[list[list[W]]] = [[lines[order[0]]]]
    end = spans[order[0]][axis + 2]
    for i in order[1:]:
        if spans[i][axis] > end + gap:
            groups.append([])
        groups[-1].append(lines[i])
        end = max(end, spans[i][axis + 2])
    return groups


def _blocks(rows: list[list[list[W]]], gap: float, gutter: float) -> list[list[list[W]]]:
    """Join consecutive rows while the joined lines still fall into two or more columns; order each block."""
    blocks: list[list[list[W]]] = []
    block: list[list[W]] = []
    for row in rows:
        joined = block + row
        if block and len(_cut(joined, [_span(line) for line in joined], axis=0, gap=gap)) == 1:
            blocks.append(block)
            joined = row
        block = joined
    blocks.append(block)
    return [_ordered_block(block, gap, gutter) for block in blocks]


def _ordered_block(block: list[list[W]], gap: float, gutter: float) -> list[list[W]]:
    columns = _cut(block, [_span(line) for line in block], axis=0, gap=gap)
    if len(columns) > 1:
        return [line for column in columns for line in _by_column(column, gutter)]
    return sorted(block, key=lambda line: (_span(line)[1], _span(line)[0]))
