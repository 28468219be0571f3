"""Files of a batch: found, kept inside their folder, limited in size, read as images."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageOps

from ml.pages.page import MAX_PIXELS, decode
from ml.pages.readers.refusal import Refusal

#: What parsers raise over broken input; Pillow, too, does not keep to its own errors.
BROKEN = (
    ValueError, LookupError, TypeError, AttributeError, RecursionError, SyntaxError, ArithmeticError, struct.error,
)  # fmt: skip
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})
#: Larger files are refused unread.
MAX_IMAGE_BYTES = 200_000_000
#: Frames read from one TIFF.
MAX_FRAMES = 200
#: What Pillow may open, whatever a file is called: its other formats are rare, and some run programs.
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
_EXIF_ORIENTATION = 0x0112


class RefusedError(Exception):
    """One item cannot be read; carries the row for the quarantine."""

    def __init__(self, item: str, rule: str, value: object, reason: str) -> None:
        super().__init__(reason)
        self.refusal = Refusal(item, rule, str(value), reason)


def files_of(root: Path, suffixes: frozenset[str]) -> list[Path]:
    """Files under `root` with one of `suffixes`, in the order of their names; hidden ones are left out.

    A file given as `root` stands for itself. Symbolic links are listed; `inside` judges where they lead.
    """
    if root.is_file():
        return [root] if root.suffix.lower() in suffixes else []
    found = (path for path in root.rglob("*") if path.suffix.lower() in suffixes)
    visible = (
        path for path in found if not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
    return sorted(path for path in visible if path.is_symlink() or path.is_file())


def name_in(root: Path, path: Path) -> str:
    """How a file is called in reports: its path in the batch's folder."""
    return path.name if path == root else path.relative_to(root).as_posix()


def inside(root: Path, path: Path, item: str) -> Path:
    """`path` with links followed. Raises RefusedError when that leads out of `root` or to nothing."""
    folder = root.parent if root.is_file() else root
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a loop of links
        raise RefusedError(
            item,
            "file_missing",
            path.name,
            f"{item}: no such file in the batch's folder; add it or drop its entry",
        ) from None
    if not target.is_relative_to(folder.resolve()):
        raise RefusedError(
            item, "path_escape", path.name, f"{item}: leads out of the batch's folder; copy the file into it"
        )
    if not target.is_file():
        raise RefusedError(item, "file_missing", path.name, f"{item}: not a file")
    return target


def read_bytes(path: Path, item: str, limit: int) -> bytes:
    """The file's bytes. Raises RefusedError when there are over `limit`, or the file cannot be opened."""
    try:
        size = path.stat().st_size
        if size > limit:
            raise RefusedError(
                item,
                "file_size",
                size,
                f"{item}: {size:,} bytes are over the limit of {limit:,}; split or shrink the file",
            )
        return path.read_bytes()
    except OSError as error:
        raise RefusedError(
            item, "file_unreadable", error.strerror, f"{item}: cannot be opened: {error.strerror}"
        ) from error


def images_in(data: bytes, item: str, start: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """PNG or JPEG bytes, width and height of a TIFF's frames from `start` on, or of another file's one image.

    PNG and upright JPEG stay as they came; other formats, and JPEG that EXIF says is turned, become PNG.
    Raises RefusedError for what is broken, cut off or too large, and after `MAX_FRAMES` frames if there are more.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            _check_pixels(image, item)
            turned = image.getexif().get(_EXIF_ORIENTATION, 1) != 1
            if image.format in {"PNG", "JPEG", "MPO"} and not turned:
                width, height = image.size
                decode(data)  # proves that it is whole
                if start == 0:
                    yield data, width, height
                return
            # Second frames of other formats are no pages: an animation, say.
            frames = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
            for frame in range(start, min(frames, MAX_FRAMES)):
                image.seek(frame)
                _check_pixels(image, item)  # frames need not be of one size
                upright = ImageOps.exif_transpose(image).convert("RGB")
                buffer = io.BytesIO()
                upright.save(buffer, "PNG")
                yield buffer.getvalue(), upright.width, upright.height
            if frames > MAX_FRAMES:
                reason = f"{item}: pages {MAX_FRAMES + 1} to {frames} are over the limit; split the file"
                raise RefusedError(item, "image_frames", frames, reason)
    except (OSError, EOFError, *BROKEN, Image.DecompressionBombError) as error:
        detail = str(error) or type(error).__name__
        raise RefusedError(
            item, "image_unreadable", detail, f"{item}: not a readable image ({detail}); export it again"
        ) from error


def _check_pixels(image: Image.Image, item: str) -> None:
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width} x {image.height}"
        reason = f"{item}: {size} is over {MAX_PIXELS:,} pixels; scale the image down"
        raise RefusedError(item, "image_pixels", size, reason)
