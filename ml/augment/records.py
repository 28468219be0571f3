"""The file format of the augmentation cache: frames, each a fixed header and one compressed image.

A shard is a run of frames and nothing else, so it explains itself: what a killed run has left can be used
as far as it is whole. What each codec costs: docs/decisions/0005-augmentation-cache.md.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
import pyarrow as pa

from ml.config import CacheCodec
from ml.pages.page import MAX_PIXELS

#: How a frame of each codec begins.
MAGIC: dict[CacheCodec, bytes] = {"raw": b"SACr", "lz4": b"SACl", "zstd": b"SACz"}
_CODECS = {MAGIC["lz4"]: pa.Codec("lz4"), MAGIC["zstd"]: pa.Codec("zstd", compression_level=3)}

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


def encode(pixels: np.ndarray, *, page: str, variant: int, key: bytes, codec: CacheCodec = "lz4") -> bytes:
    """One frame: uint8 (H, W, 3) `pixels` of variant `variant` of the page with hex id `page`."""
    data = np.ascontiguousarray(pixels).data
    magic = MAGIC[codec]
    payload = _CODECS[magic].compress(data, asbytes=True) if magic in _CODECS else bytes(data)
    header = np.zeros((), HEADER)
    header["magic"], header["variant"], header["length"] = magic, variant, len(payload)
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
    payload = frame[HEADER.itemsize :]
    codec = _CODECS.get(bytes(header["magic"]))
    if codec is None:
        return np.frombuffer(payload, np.uint8).reshape(shape).copy()
    # pyarrow's buffer is ours and writable: no copy.
    pixels = codec.decompress(pa.py_buffer(payload), decompressed_size=prod(shape))
    return np.frombuffer(pixels, np.uint8).reshape(shape)


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
        if header["magic"] not in MAGIC.values() or stop > len(data) or too_large:
            return
        yield header, start, stop
        start = stop
