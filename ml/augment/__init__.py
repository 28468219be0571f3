"""Augmentation: photometric variants computed once and kept, geometric transforms on the fly.

`ml.augment.cache.AugmentationCache` is what trainers read; only building it needs albumentations.
"""

from ml.augment.cache import AugmentationCache
from ml.augment.geometric import Geometry, geometric

__all__ = ["AugmentationCache", "Geometry", "geometric"]
