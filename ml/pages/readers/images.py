"""Plain images: pages of which nothing is known yet."""

from __future__ import annotations

from collections.abc import Container, Iterator
from pathlib import Path

from ml.pages.page import Page, page_id
from ml.pages.readers.files import (
    IMAGE_SUFFIXES,
    MAX_IMAGE_BYTES,
    RefusedError,
    files_of,
    images_in,
    inside,
    name_in,
    read_bytes,
)
from ml.pages.readers.refusal import Read


def read_images(root: Path, skip: Container[str] = ()) -> Iterator[Read]:
    """Every image under `root` (or `root` itself) as a page without annotations; each file a document.

    Files that are called as in `skip` are left out.
    """
    for path in files_of(root, IMAGE_SUFFIXES):
        item = name_in(root, path)
        if item in skip:
            continue
        try:
            data = read_bytes(inside(root, path, item), item, MAX_IMAGE_BYTES)
            for frame, (image, width, height) in enumerate(images_in(data, item)):
                source = f"{item}#{frame + 1}" if frame else item
                yield Page(page_id(image), item, width, height, image, None, None, "human", source)
        except RefusedError as error:
            yield error.refusal
