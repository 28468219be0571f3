"""The file format of the augmentation cache: frames, each a fixed header and one compressed image.

A shard is a run of frames and nothing else, so it explains itself: what a killed run has left can be used
as far as it is whole. Why zstd at level 3: docs/decisions/0005-augmentation-cache.md.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
import pyarrow as pa

from ml.pages.page import MAX_PIXELS

MAGIC = b"SAC1"
CODEC, LEVEL = "zstd", 3

HEADER = np.dtype(
    [
        ("magic", "S4"),
        ("variant", "<u4"),
        ("height", "<u4"),  # pixels
        ("width", "<u4"),  # pixels
        ("length", "<u8"),  # bytes of the payload that follows
        ("key", "u1", 32),  # of page, pipeline, seed, variant and library versions
        ("page", "u1", 32),  # the page's id
        ("digest", "u1", 32),  # SHA-256 of the header up to here and the payload
    ]
)
_SIGNED = HEADER.itemsize - 32

_codec = pa.Codec(CODEC, compression_level=LEVEL)


def encode(pixels: np.ndarray, *, page: str, variant: int, key: bytes) -> bytes:
    """One frame: uint8 (H, W, 3) `pixels` of variant `variant` of the page with hex id `page`."""
    payload = _codec.compress(np.ascontiguousarray(pixels).data, asbytes=True)
    header = np.zeros((), HEADER)
    header["magic"], header["variant"], header["length"] = MAGIC, variant, len(payload)
    header["height"], header["width"] = pixels.shape[:2]
    header["key"] = np.frombuffer(key, np.uint8)
    header["page"] = np.frombuffer(bytes.fromhex(page), np.uint8)
    signed = header.tobytes()[:_SIGNED]
    return signed + hashlib.sha256(signed + payload).digest() + payload


def whole(frame: memoryview) -> bool:
    """Whether a frame is what was written."""
    digest = hashlib.sha256(frame[:_SIGNED])
    digest.update(frame[HEADER.itemsize :])
    return digest.digest() == frame[_SIGNED : HEADER.itemsize]


def decode(frame: memoryview) -> np.ndarray:
    """The pixels of a whole frame: writable uint8 (H, W, 3)."""
    header = np.frombuffer(frame, HEADER, count=1)[0]
    shape = (int(header["height"]), int(header["width"]), 3)
    payload = pa.py_buffer(frame[HEADER.itemsize :])
    # pyarrow's buffer is ours and writable: no copy.
    return np.frombuffer(_codec.decompress(payload, decompressed_size=prod(shape)), np.uint8).reshape(shape)


def open_shard(path: Path) -> memoryview:
    """A file's bytes, mapped and not read. Empty files map to an empty view."""
    with path.open("rb") as file:
        try:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except ValueError:  # an empty file cannot be mapped
            return memoryview(b"")


def frames(data: memoryview) -> Iterator[tuple[np.void, int, int]]:
    """(header, start, stop) of the frames in a shard, up to the first place where none begins or ends.

    A frame's contents are not verified: see `whole`.
    """
    start = 0
    while start + HEADER.itemsize <= len(data):
        header = np.frombuffer(data, HEADER, count=1, offset=start)[0]
        stop = start + HEADER.itemsize + int(header["length"])
        too_large = int(header["height"]) * int(header["width"]) > MAX_PIXELS
        if header["magic"] != MAGIC or stop > len(data) or too_large:
            return
        yield header, start, stop
        start = stop
