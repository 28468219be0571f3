"""Lines of a page grouped into blocks: what hOCR and ALTO nest words in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ml.pages.page import Box
from ml.pages.result import FoundRegion, PageResult, ReadWord


@dataclass(frozen=True)
class Block:
    """Consecutive lines that lie in one region (or in none: `label` is then None)."""

    box: Box
    label: str | None
    lines: tuple[tuple[ReadWord, ...], ...]


def hull(boxes: Sequence[Box]) -> Box:
    """The smallest box around `boxes`."""
    lows, highs = [box[:2] for box in boxes], [box[2:] for box in boxes]
    return (
        min(x for x, _ in lows),
        min(y for _, y in lows),
        max(x for x, _ in highs),
        max(y for _, y in highs),
    )


def blocks_of(result: PageResult) -> list[Block]:
    """All lines in reading order, cut into blocks; then the regions that hold none, such as pictures."""
    blocks: list[Block] = []
    grouped: list[tuple[FoundRegion | None, list[tuple[ReadWord, ...]]]] = []
    for line in result.lines:
        region = _region_of(hull([word.box for word in line]), result.regions)
        if not grouped or grouped[-1][0] is not region:
            grouped.append((region, []))
        grouped[-1][1].append(tuple(line))
    for region, lines in grouped:
        box = hull([word.box for line in lines for word in line])
        blocks.append(Block(box, region.label if region else None, tuple(lines)))
    taken = {id(region) for region, _ in grouped}
    return blocks + [
        Block(region.box, region.label, ()) for region in result.regions if id(region) not in taken
    ]


def _region_of(line: Box, regions: Sequence[FoundRegion]) -> FoundRegion | None:
    """The smallest region around the line's middle."""
    x, y = (line[0] + line[2]) / 2, (line[1] + line[3]) / 2
    around = [r for r in regions if r.box[0] <= x < r.box[2] and r.box[1] <= y < r.box[3]]
    return min(around, key=lambda r: (r.box[2] - r.box[0]) * (r.box[3] - r.box[1]), default=None)
