"""Trident v4: a backbone, a feature pyramid, and three heads that find regions, find words and read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from ml.config import TridentConfig
from ml.errors import InputError, UsageError
from ml.models import charset
from ml.models.trident.fcos import FcosHead, Norm, normalisation
from ml.models.trident.reading import Decoder, Detail, ParallelReader, is_narrow, word_features
from ml.pages.labels import PUBLAYNET

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, which timm's weights expect


@dataclass(frozen=True)
class Features:
    """What one pass over a batch of pages gives: the levels that heads see, and both detection heads' outputs."""

    level: Tensor  # (B, C, H/s, W/s), s = word stride
    detail: Tensor | None  # (B, c, 2H/s, 2W/s), for the reading heads only; None where the network has none
    layout: Tensor  # the same at the layout stride
    words: tuple[Tensor, Tensor, Tensor]
    regions: tuple[Tensor, Tensor, Tensor]


class FeaturePyramid(nn.Module):
    """1x1 laterals, nearest upsampling and addition, 3x3 smoothing, normalisation (Lin et al. 2017)."""

    def __init__(self, inputs: list[int], channels: int, norm: Norm = "group") -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in inputs)
        self.smooth = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                normalisation(norm, channels),
            )
            for _ in inputs
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps from fine to coarse, (B, C_i, h_i, w_i), to as many levels of (B, channels, h_i, w_i)."""
        levels = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        for i in range(len(levels) - 2, -1, -1):
            levels[i] = levels[i] + F.interpolate(levels[i + 1], size=levels[i].shape[-2:], mode="nearest")
        return [smooth(x) for smooth, x in zip(self.smooth, levels, strict=True)]


class Trident(nn.Module):
    """One network, three heads. Pages come as uint8 (B, H, W, 3) RGB, H and W multiples of 32."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: TridentConfig) -> None:
        super().__init__()
        self.config = config
        self.charset = charset.named(config.charset)
        # Maps coarser than the layout level would cost a quarter of the backbone and serve no head.
        self.strides = [s for s in (4, 8, 16, 32) if config.word_stride <= s <= config.layout_stride]
        fine = [config.word_stride // 2] if config.detail else []
        self.backbone = _backbone(config, fine + self.strides)
        inputs: list[int] = self.backbone.feature_info.channels()  # type: ignore[operator,union-attr]
        self.neck = FeaturePyramid(inputs[len(fine) :], config.channels, config.norm)
        self.detail = Detail(inputs[0], config.detail, config.channels) if config.detail else None
        self.layout = FcosHead(
            config.channels, len(PUBLAYNET), config.tower, config.layout_stride, 4.0, config.norm
        )
        self.words = FcosHead(config.channels, 1, config.tower, config.word_stride, 3.0, config.norm)
        symbols = len(self.charset)
        self.reader = ParallelReader(
            config.channels,
            config.roi[0],
            config.reader_width,
            config.reader_layers,
            symbols,
            config.roi[1],
            config.dropout,
        )
        self.decoder = (
            Decoder(
                config.channels,
                config.roi,
                config.decoder_width,
                config.decoder_layers,
                symbols,
                config.length,
                config.dropout,
            )
            if config.decoder_layers
            else None
        )
        for name, values in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1) * 255, persistent=False)

    def forward(self, pages: Tensor) -> Features:
        """One pass over pages, uint8 (B, H, W, 3)."""
        level, layout, detail = self.maps(pages)
        return Features(level, detail, layout, self.words(level), self.layout(layout))

    def maps(self, pages: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """What heads see of pages, uint8 (B, H, W, 3): `level`, `layout` and `detail` of `Features`."""
        # NHWC seen as NCHW is channels_last already: no copy. Before the arithmetic, which runtimes do slowly three by three.
        x = (pages.permute(0, 3, 1, 2).float() - self.mean) / self.std
        maps = self.backbone(x)
        detail = self.detail.map(maps.pop(0)) if self.detail else None
        levels = self.neck(maps)
        return levels[0], levels[self.strides.index(self.config.layout_stride)], detail

    def rois(self, features: Features, views: Tensor, page: Tensor, columns: int) -> Tensor:
        """Features (N, C, roi height, columns) of views (N, 4), widened word boxes in pixels, on pages `page` (N,)."""
        height, stride = self.config.roi[0], self.config.word_stride
        rois = word_features(features.level, views, page, (height, columns), stride)
        if self.detail and features.detail is not None:
            cut = word_features(features.detail, views, page, (2 * height, 2 * columns), stride // 2)
            rois = rois + self.detail(cut)
        return rois

    def columns_for(self, views: Tensor) -> list[tuple[int, Tensor]]:
        """In how many columns views (..., 4) are read, and which they are, bool (...): narrow ones in half of all."""
        columns, narrow = self.config.roi[1], is_narrow(views, self.config.narrow)
        if not self.config.narrow:
            return [(columns, torch.ones_like(narrow))]
        return [(columns // 2, narrow), (columns, ~narrow)]

    def read(self, features: Features, views: Tensor, page: Tensor, columns: int) -> Tensor:
        """What the parallel head says of views (N, 4) on pages `page` (N,): logits (N, columns, symbols)."""
        return self.reader(self.rois(features, views, page, columns))

    def parameter_counts(self) -> dict[str, int]:
        """Parameters of each part."""
        return {name: sum(p.numel() for p in part.parameters()) for name, part in self.named_children()}


def _backbone(config: TridentConfig, strides: list[int]) -> nn.Module:
    """The timm backbone with maps at `strides`. Raises UsageError for an unknown name, InputError for lost weights."""
    try:
        probe = timm.create_model(config.backbone, features_only=True, pretrained=False)
    except RuntimeError as error:
        near = timm.list_models(f"*{config.backbone.split('.')[0][:6]}*")[:5]
        raise UsageError(
            f"trident.backbone: timm has no '{config.backbone}' ({error}); near: {', '.join(near) or 'none'}"
        ) from None
    reductions = probe.feature_info.reduction()  # type: ignore[union-attr]
    missing = [s for s in strides if s not in reductions]
    if missing:
        raise UsageError(
            f"trident.backbone: '{config.backbone}' has no maps at strides {missing}, only at {reductions}"
        )
    wanted = tuple(reductions.index(s) for s in strides)
    if config.weights == "hub":
        try:
            return timm.create_model(config.backbone, features_only=True, pretrained=True, out_indices=wanted)
        except (
            Exception
        ) as error:  # the hub's client raises many kinds; all mean that the weights cannot be had
            raise InputError(
                f"trident.weights: the weights of '{config.backbone}' cannot be had from the hub ({type(error).__name__}); "
                "give a local safetensors file, or null for random weights"
            ) from error
    backbone = timm.create_model(config.backbone, features_only=True, pretrained=False, out_indices=wanted)
    if config.weights:
        path = Path(config.weights)
        if not path.exists():
            raise UsageError(f"trident.weights: {path}: no such file")
        weights = load_file(path)
        lost = [key for key in backbone.state_dict() if key not in weights]
        if lost:
            raise InputError(
                f"{path}: not weights of '{config.backbone}': {len(lost)} tensors are missing, '{lost[0]}' first"
            )
        backbone.load_state_dict({key: weights[key] for key in backbone.state_dict()})
    return backbone
