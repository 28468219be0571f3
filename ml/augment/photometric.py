"""Photometric transforms: they move no pixel, so boxes stay valid and the result can be computed once.

The pipeline is data (`steps`); albumentations is only its engine and is imported when the first page is
transformed, because it costs seconds and a machine that merely trains need not have it.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import os
import random
import sys
from types import ModuleType
from typing import Any

import cv2
import numpy as np

from ml.config import CacheConfig
from ml.errors import InputError

#: (transform, arguments) in the order of a scanner: colours, optics, sensor, file.
Steps = tuple[tuple[str, dict[str, Any]], ...]

#: Whatever may change a pixel or a stored byte when it changes its version.
ENGINES = ("albumentations", "albucore", "numpy", "pillow", "pyarrow")


def steps(config: CacheConfig) -> Steps:
    """The pipeline as data, JSON-serialisable. Strengths keep body text of 11 px legible."""
    return (
        (
            "ColorJitter",
            {
                "brightness": [0.7, 1.3],
                "contrast": [0.7, 1.3],
                "saturation": [0.7, 1.3],
                "hue": [-0.03, 0.03],
                "p": config.jitter,
            },
        ),
        ("ToGray", {"p": config.grayscale}),
        ("GaussianBlur", {"blur_limit": 0, "sigma_limit": [0.3, 0.9], "p": config.blur}),
        ("GaussNoise", {"std_range": [0.01, 0.05], "p": config.noise}),
        ("ImageCompression", {"quality_range": [40, 90], "p": config.compression}),
    )


def engine_versions() -> dict[str, str]:
    """Versions of the libraries that make the pixels. Raises InputError when one is not installed."""
    try:
        versions = {name: importlib.metadata.version(name) for name in ENGINES}
    except importlib.metadata.PackageNotFoundError as error:
        raise InputError(f"{error.name} is not installed; the augmentation cache is built with it") from None
    return versions | {"opencv": cv2.__version__}


def variant_seed(seed: int, page_id: str, variant: int) -> int:
    """The seed of one variant of one page: independent of the order in which pages are transformed."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{page_id}:{variant}".encode()).digest()[:16], "little")


class Photometric:
    """`steps`, ready to apply. The same pixels and seed give the same pixels, in any process."""

    def __init__(self, pipeline: Steps) -> None:
        albumentations = _albumentations()
        self._compose = albumentations.Compose(
            [getattr(albumentations, name)(**_tuples(arguments)) for name, arguments in pipeline]
        )

    def __call__(self, pixels: np.ndarray, seed: int) -> np.ndarray:
        """Transform uint8 (H, W, 3) RGB to the same shape."""
        # Not Compose.set_random_seed: it gives every transform its own generator with one and the same seed,
        # so that all draws "apply me?" are equal and a noisy page is always a blurred and a jittered one.
        self._compose.set_random_state(np.random.default_rng(seed), random.Random(seed))  # noqa: S311
        return np.ascontiguousarray(self._compose(image=pixels)["image"])


def _albumentations() -> ModuleType:
    """Import albumentations without what it would bring along: a question to the network about updates, and
    torch, which only its `pytorch` part needs and which is 3.3 of its 4.5 seconds.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    name = "albumentations.pytorch"
    spared = "albumentations" not in sys.modules
    if spared:
        sys.modules[name] = ModuleType(name)
    try:
        return importlib.import_module("albumentations")
    finally:
        if spared:
            sys.modules.pop(name, None)  # so that whoever asks for that part gets it


def _tuples(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in arguments.items()}
