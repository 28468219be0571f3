"""COCO annotations: images with region boxes, and no words."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from ml.pages.labels import FROM_PUBLAYNET
from ml.pages.order import in_reading_order
from ml.pages.page import Box, Page, Region, page_id
from ml.pages.readers.annotated import MAX_REGIONS
from ml.pages.readers.files import (
    MAX_IMAGE_BYTES,
    RefusedError,
    files_of,
    images_in,
    inside,
    name_in,
    read_bytes,
)
from ml.pages.readers.refusal import Read, Refusal

MAX_JSON_BYTES = 2_000_000_000
#: PubLayNet names its images after the article and the page in it.
_PUBMED_PAGE = re.compile(r"^(PMC\d+)_\d+$")


@dataclass(frozen=True, slots=True)
class CocoFile:
    """A parsed annotation file."""

    path: Path
    images: list[Any]
    annotations: dict[Any, list[Any]]  # by image id
    categories: dict[Any, str]  # name by id; ids may start anywhere and have holes


def coco_files(root: Path) -> list[Path]:
    """JSON files under `root` (or `root` itself) that look like COCO."""
    folder = (root.parent if root.is_file() else root).resolve()
    found = files_of(root, frozenset({".json"}))
    # A link that leads out of the folder, or to a device, is not even looked at.
    regular = [path for path in found if path.is_file() and path.resolve().is_relative_to(folder)]
    return [path for path in regular if _looks_like_coco(path, path.stat().st_size, path.stat().st_mtime_ns)]


@lru_cache(maxsize=100_000)  # asked for several times in a run, and PubLayNet's file has 2 GB
def _looks_like_coco(path: Path, size: int, changed: int) -> bool:
    """Whether the keys of COCO occur. Files can be large, so they are scanned in pieces and not parsed."""
    wanted = {b'"images"', b'"annotations"', b'"categories"'}
    try:
        with path.open("rb") as file:
            tail = b""
            while wanted and (piece := file.read(1 << 20)):
                wanted = {key for key in wanted if key not in tail + piece}
                tail = piece[-16:]
    except OSError:
        return False
    return not wanted


def read_coco(root: Path) -> Iterator[Read]:
    """Every image that a COCO file under `root` (or `root` itself) lists, with its regions and no words.

    Names are taken from `categories`, never from the ids' customary meaning. PubLayNet's five become
    canonical labels; unknown names, and boxes that leave the page, stay for the contracts to judge. A page
    with a box that is none (not finite, no area, no such category) is refused whole: its truth has a hole.
    """
    for path in coco_files(root):
        item = name_in(root, path)
        try:
            coco = _parse(inside(root, path, item), item)
        except RefusedError as error:
            yield error.refusal
            continue
        names: dict[Any, set[str]] = {}  # by image id
        for image in coco.images:
            if isinstance(image, dict) and not isinstance(image.get("id"), list | dict):
                names.setdefault(image.get("id"), set()).add(str(image.get("file_name")))
        taken: set[str] = set()
        for image in coco.images:
            try:
                name, identity = _identity(image, item)
                if len(names[identity]) > 1:
                    reason = (
                        f"{name}: image id {identity} is also another image's in {item}; number them anew"
                    )
                    raise RefusedError(name, "coco_id", identity, reason)
                if name in taken:
                    reason = f"{name}: listed twice in {item}; drop one of the entries"
                    raise RefusedError(name, "page_twice", identity, reason)
                taken.add(name)
                yield _page(root, coco, image, name, identity)
            except RefusedError as error:
                yield error.refusal
        for lost in sorted(str(key) for key in coco.annotations if key not in names):
            yield Refusal(
                item,
                "annotation_orphan",
                lost,
                f"{item}: annotations of image id {lost}, which `images` does not list; add it",
            )


def _parse(path: Path, item: str) -> CocoFile:
    try:
        content = json.loads(read_bytes(path, item, MAX_JSON_BYTES))
        images, categories = content["images"], content["categories"]
        annotations: dict[Any, list[Any]] = {}
        for annotation in content["annotations"]:
            annotations.setdefault(annotation["image_id"], []).append(annotation)
        names: dict[Any, str] = {}
        for category in categories:
            if names.setdefault(category["id"], str(category["name"])) != str(category["name"]):
                raise ValueError(f"category id {category['id']} has two names")
        if not isinstance(images, list):
            raise TypeError("`images` is no list")
        if not images:
            raise ValueError("it lists no image")
        return CocoFile(path, images, annotations, names)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        detail = f"{type(error).__name__}: {error}"
        reason = f"{item}: not a COCO file ({detail}); it needs images, annotations and categories"
        raise RefusedError(item, "coco_unreadable", error, reason) from error


def _identity(image: Any, item: str) -> tuple[str, Any]:
    try:
        name, identity = str(image["file_name"]), image["id"]
        hash(identity)
    except (KeyError, TypeError) as error:
        reason = f"{item}: an entry of `images` without id and file_name"
        raise RefusedError(item, "coco_image", str(image)[:200], reason) from error
    if len(name) > 1000:
        reason = f"{item}: {name[:100]}...: file_name must be a path inside the batch's folder"
        raise RefusedError(item, "path_escape", name[:100], reason)
    return name, identity


def _page(root: Path, coco: CocoFile, image: Any, name: str, identity: Any) -> Page:
    listed = coco.annotations.get(identity, [])
    if len(listed) > MAX_REGIONS:
        reason = f"{name}: {len(listed):,} regions are over the limit of {MAX_REGIONS:,} on one page"
        raise RefusedError(name, "page_boxes", len(listed), reason)
    data = read_bytes(_locate(root, coco.path, name), name, MAX_IMAGE_BYTES)
    data, width, height = next(images_in(data, name))
    scale_x, scale_y = _scale(image, width, height, name)
    regions = [_region(annotation, coco.categories, scale_x, scale_y, name) for annotation in listed]
    return Page(
        id=page_id(data),
        document=_document(image, name),
        width=width,
        height=height,
        image=data,
        words=None,
        regions=tuple(in_reading_order(regions)),
        provenance="human",
        source=name,
    )


def _locate(root: Path, annotations: Path, name: str) -> Path:
    """The image file: beside the annotations, in `images/` beside them, or from the batch's folder."""
    too_long = any(len(part.encode("utf-8", "replace")) > 255 for part in name.split("/"))
    if too_long or PurePosixPath(name).is_absolute() or "\0" in name or "\\" in name:
        raise RefusedError(
            name[:200],
            "path_escape",
            name[:200],
            f"{name[:200]}: file_name must be a path inside the batch's folder",
        )
    folder = root.parent if root.is_file() else root
    places = [
        annotations.parent / name,
        annotations.parent / "images" / name,
        folder / name,
        folder / "images" / name,
    ]
    for place in places:
        if place.is_symlink() or place.exists():
            return inside(root, place, name)
    return inside(root, places[0], name)


def _scale(image: Any, width: int, height: int, name: str) -> tuple[float, float]:
    """From the size that the boxes are meant for to the image's own; the same in both directions."""
    stated = image.get("width") or width, image.get("height") or height
    if not all(isinstance(side, int | float) and 0 < side < 1e9 for side in stated):
        raise RefusedError(
            name, "coco_size", stated, f"{name}: width and height in the COCO file are no sizes"
        )
    scale_x, scale_y = width / stated[0], height / stated[1]
    if abs(scale_x / scale_y - 1) > 0.02:
        size = f"{stated[0]} x {stated[1]}"
        reason = f"{name}: {size} in the COCO file, {width} x {height} in the image, and not in proportion"
        raise RefusedError(name, "coco_size", size, reason)
    return scale_x, scale_y


def _region(annotation: Any, categories: dict[Any, str], scale_x: float, scale_y: float, name: str) -> Region:
    try:
        x, y, w, h = (float(value) for value in annotation["bbox"])
        category = categories[annotation["category_id"]]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        reason = f"{name}: an annotation without a bbox of four numbers or a category of the file ({error!r})"
        raise RefusedError(
            name,
            "box_invalid",
            annotation.get("bbox") if isinstance(annotation, dict) else annotation,
            reason,
        ) from error
    if not all(map(math.isfinite, (x, y, w, h))) or w <= 0 or h <= 0:
        raise RefusedError(
            name,
            "box_invalid",
            [x, y, w, h],
            f"{name}: bbox {[x, y, w, h]} has no area; COCO wants x, y, width, height",
        )
    box: Box = (x * scale_x, y * scale_y, (x + w) * scale_x, (y + h) * scale_y)
    return Region(box, FROM_PUBLAYNET.get(category, category))


def _document(image: Any, name: str) -> str:
    """DocLayNet names the document; PubLayNet's file names hold it; else each image is its own."""
    if isinstance(image.get("doc_name"), str):
        return image["doc_name"]
    match = _PUBMED_PAGE.match(PurePosixPath(name).stem)
    return match.group(1) if match else name
