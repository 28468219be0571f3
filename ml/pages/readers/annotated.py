"""What all annotation files share: find the image that they describe, scale their boxes to it, refuse what is broken.

A format is a function from a file's bytes to `Sheet`s. Files and images come from strangers: nothing outside the
batch's folder is opened, sizes are limited, and a sheet with a box that is none is refused whole, because its truth
has a hole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from ml.pages.order import in_reading_order
from ml.pages.page import Box, Page, Region, Word, page_id
from ml.pages.readers.files import (
    BROKEN,
    IMAGE_SUFFIXES,
    MAX_IMAGE_BYTES,
    RefusedError,
    files_of,
    images_in,
    inside,
    name_in,
    read_bytes,
)
from ml.pages.readers.refusal import Read, Refusal

#: Annotation files of one page or one document; larger ones are refused unread.
MAX_ANNOTATION_BYTES = 100_000_000
#: Words and regions of one page; more is an attack or an accident. Ordering 2,000 regions takes 3 s at worst.
MAX_WORDS, MAX_REGIONS = 50_000, 2_000
#: Pages of one annotation file.
MAX_PAGES = 5_000


@dataclass
class Sheet:
    """One page as an annotation file describes it, in units of its own."""

    image: str | None = None  # as the file names it
    size: tuple[float, float] | None = (
        None  # width, height in the units of the boxes; None: pixels of the image
    )
    words: list[Word] | None = None
    regions: list[Region] | None = None
    frame: int = 0  # of an image file with several
    meta: dict[str, str] = field(default_factory=dict)


#: From a file's bytes and its name in reports to its pages. Raises RefusedError, or any error a broken file causes.
Parse = Callable[[bytes, str], list[Sheet]]


def read_annotated(
    root: Path, suffixes: frozenset[str], rule: str, parse: Parse, sniff: Callable[[bytes], bool]
) -> Iterator[Read]:
    """Every page that an annotation file under `root` describes. `rule` names the refusal of a broken file."""
    images = _images(root)
    for path in annotation_files(root, suffixes, sniff):
        item = name_in(root, path)
        try:
            data = read_bytes(inside(root, path, item), item, MAX_ANNOTATION_BYTES)
            sheets = _parsed(parse, data, item, rule)
        except RefusedError as error:
            yield error.refusal
            continue
        taken: set[tuple[Path, int]] = set()
        for number, sheet in enumerate(sheets[:MAX_PAGES]):
            source = f"{item}#{number + 1}" if len(sheets) > 1 else item
            try:
                place = _locate(root, path, sheet, images, item)
                if (place, sheet.frame) in taken:
                    reason = f"{source}: describes {place.name} once more; drop one of its pages"
                    raise RefusedError(source, "page_twice", place.name, reason)
                taken.add((place, sheet.frame))
                yield _page(root, place, sheet, source, item)
            except RefusedError as error:
                yield error.refusal
        if len(sheets) > MAX_PAGES:
            reason = f"{item}: pages {MAX_PAGES + 1} to {len(sheets)} are over the limit; split the file"
            yield Refusal(item, "annotation_pages", str(len(sheets)), reason)


def annotation_files(root: Path, suffixes: frozenset[str], sniff: Callable[[bytes], bool]) -> list[Path]:
    """Files under `root` with one of `suffixes` whose first bytes are the format's. What cannot be looked at is kept:
    its reader says why it refuses it."""
    folder = (root.parent if root.is_file() else root).resolve()
    found = []
    for path in files_of(root, suffixes):
        if not (path.is_file() and path.resolve().is_relative_to(folder)):
            continue
        try:
            with path.open("rb") as file:
                head = file.read(65_536)
        except OSError:
            continue
        if sniff(head):
            found.append(path)
    return found


def _parsed(parse: Parse, data: bytes, item: str, rule: str) -> list[Sheet]:
    try:
        sheets = parse(data, item)
    except BROKEN as error:
        detail = f"{type(error).__name__}: {str(error)[:120]}"
        reason = f"{item}: not a readable {rule.partition('_')[0]} file ({detail}); export it again"
        raise RefusedError(item, rule, detail, reason) from error
    if not sheets:
        raise RefusedError(item, rule, "no page", f"{item}: it describes no page")
    return sheets


def _images(root: Path) -> dict[str, list[Path]]:
    """All images of the batch by their stem, in the order of their names."""
    folder = root.parent if root.is_file() else root
    found: dict[str, list[Path]] = {}
    for path in files_of(folder, IMAGE_SUFFIXES):
        found.setdefault(path.stem, []).append(path)
    return found


def _page(root: Path, place: Path, sheet: Sheet, source: str, item: str) -> Page:
    data = read_bytes(inside(root, place, item), item, MAX_IMAGE_BYTES)
    frame = next(images_in(data, item, sheet.frame), None)
    if frame is None:
        raise RefusedError(
            item, "image_frame", sheet.frame + 1, f"{source}: {place.name} has no page {sheet.frame + 1}"
        )
    image, width, height = frame
    scale = _scale(sheet, width, height, source)
    words, regions = _scaled(sheet, scale, source)
    return Page(
        id=page_id(image),
        document=name_in(root.parent if root.is_file() else root, place),
        width=width,
        height=height,
        image=image,
        words=None if words is None else tuple(words),
        regions=None if regions is None else tuple(regions),
        provenance="human",
        source=source,
        meta=sheet.meta,
    )


def _locate(root: Path, path: Path, sheet: Sheet, images: dict[str, list[Path]], item: str) -> Path:
    """The image that the file names, by its last part alone: people's paths hold on their own machines. Else the image
    of the annotation's own name. Of several, the nearest in the tree."""
    if sheet.image is not None and ("\0" in sheet.image or len(sheet.image) > 1000):
        raise RefusedError(item, "path_escape", sheet.image[:80], f"{item}: the image's name is none")
    named = PurePosixPath((sheet.image or "").replace("\\", "/"))
    candidates = [p for p in images.get(named.stem, []) if p.name == named.name]
    candidates = candidates or images.get(path.stem, []) or images.get(path.name.split(".")[0], [])
    if not candidates:
        wanted = named.name or path.stem
        raise RefusedError(
            item, "file_missing", wanted, f"{item}: its image {wanted} is not in the batch's folder; add it"
        )
    parts = path.parent.parts

    def distance(place: Path) -> tuple[int, str]:
        other = place.parent.parts
        common = next(
            (i for i, (a, b) in enumerate(zip(parts, other, strict=False)) if a != b),
            min(len(parts), len(other)),
        )
        return len(parts) + len(other) - 2 * common, str(place)

    return min(candidates, key=distance)


def _scale(sheet: Sheet, width: int, height: int, source: str) -> tuple[float, float]:
    if sheet.size is None:
        return 1.0, 1.0
    stated_width, stated_height = sheet.size
    if not (math.isfinite(stated_width) and math.isfinite(stated_height) and min(sheet.size) > 0):
        raise RefusedError(source, "page_size", sheet.size, f"{source}: {sheet.size} is no size of a page")
    scale = width / stated_width, height / stated_height
    if not 0.97 < scale[0] / scale[1] < 1.03:
        stated = f"{stated_width:g} x {stated_height:g}"
        reason = (
            f"{source}: {stated} in the annotation, {width} x {height} in the image, and not in proportion"
        )
        raise RefusedError(source, "page_size", stated, reason)
    return scale


def _scaled(
    sheet: Sheet, scale: tuple[float, float], source: str
) -> tuple[list[Word] | None, list[Region] | None]:
    if len(sheet.words or ()) > MAX_WORDS or len(sheet.regions or ()) > MAX_REGIONS:
        limits = f"{MAX_WORDS:,} words or {MAX_REGIONS:,} regions"
        raise RefusedError(source, "page_boxes", limits, f"{source}: over {limits} on one page")
    words = None if sheet.words is None else [replace(w, box=_box(w.box, scale, source)) for w in sheet.words]
    if sheet.regions is None:
        return words, None
    return words, in_reading_order([replace(r, box=_box(r.box, scale, source)) for r in sheet.regions])


def _box(box: Box, scale: tuple[float, float], source: str) -> Box:
    x1, y1, x2, y2 = box
    if not all(map(math.isfinite, box)) or x2 <= x1 or y2 <= y1:
        raise RefusedError(source, "box_invalid", list(box), f"{source}: the box {list(box)} has no area")
    return x1 * scale[0], y1 * scale[1], x2 * scale[0], y2 * scale[1]
