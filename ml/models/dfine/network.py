"""D-FINE over a timm backbone: transformers' network, built without a hub, its outputs paired aright."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import DFineConfig as DetectorConfig
from transformers import DFineForObjectDetection
from transformers.models.d_fine.modeling_d_fine import get_contrastive_denoising_training_group

from ml.config import DFineConfig
from ml.errors import InputError, UsageError
from ml.models.dfine import fdr
from ml.models.dfine.boxes import Targets
from ml.models.dfine.sampling import make_choosable
from ml.pages.labels import CANONICAL

STRIDES = (8, 16, 32)
#: ImageNet's statistics, which timm's backbones were trained with, on the scale of uint8.
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class QuerySet:
    """What the decoder says of some queries. L layers; set 0 is the head before them, set l + 1 layer l."""

    logits: Tensor  # (L + 1, B, Q, C)
    boxes: Tensor  # (L + 1, B, Q, 4) cx, cy, w, h in [0, 1]
    edges: Tensor  # (L, B, Q, 4 (N + 1)) logits of layer l's edge distributions
    origins: Tensor  # (B, Q, 4) the boxes that all layers' distributions move


@dataclass(frozen=True)
class Predictions:
    """All that the criterion and the distillation look at."""

    queries: QuerySet
    noised: QuerySet | None  # denoising queries, in training only
    proposal_logits: Tensor  # (B, Q, C) of the tokens that became queries
    proposal_boxes: Tensor  # (B, Q, 4)
    dense_logits: Tensor  # (B, M, C) of every token
    dense_boxes: Tensor  # (B, M, 4)
    tokens: Tensor  # (B, Q) the tokens that became queries
    points: Tensor  # (M, 2) the tokens' places in [0, 1]
    features: tuple[Tensor, ...]  # (B, hidden, H / stride, W / stride) of strides 8, 16, 32


class DFine(nn.Module):
    """The detector. Input: pages, uint8 (B, H, W, 3) RGB, H and W multiples of 32."""

    def __init__(self, config: DFineConfig) -> None:
        super().__init__()
        self.config = config
        detector = DFineForObjectDetection(detector_config(config))
        self.model = detector.model  # its decoder holds the heads; the outer copies of them are not needed
        make_choosable(self.model.decoder, detector.config)
        self.model.decoder.integral = Integral()  # pyright: ignore[reportAttributeAccessIssue]
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def encode(self, image: Tensor) -> tuple[Tensor, ...]:
        """Pages to features of strides 8, 16, 32, in float32."""
        pixels = (image.permute(0, 3, 1, 2).float() - self.mean) / self.std  # type: ignore[operator]
        maps = self.model.backbone.model(pixels).feature_maps
        lateral = [project(level) for project, level in zip(self.model.encoder_input_proj, maps, strict=True)]
        return tuple(level.float() for level in self.model.encoder(lateral).last_hidden_state)

    def decode(
        self,
        features: tuple[Tensor, ...],
        content: Tensor,
        references: Tensor,
        mask: Tensor | None = None,
    ) -> QuerySet:
        """Decode queries of any origin: content (B, Q, hidden), references (B, Q, 4) as logits of boxes."""
        shapes = _shapes(features)
        output = self.model.decoder(
            inputs_embeds=content,
            encoder_hidden_states=_flat(features),
            encoder_attention_mask=mask,
            reference_points=references,
            spatial_shapes=torch.tensor(shapes, device=content.device),
            spatial_shapes_list=shapes,
        )
        # transformers has the layers as the second axis. From here on, every number is float32.
        return QuerySet(
            output.intermediate_logits.float().transpose(0, 1),
            output.intermediate_reference_points.float().transpose(0, 1),
            output.intermediate_predicted_corners.float().transpose(0, 1),
            output.initial_reference_points[:, 0].float(),
        )

    def decode_like(self, features: tuple[Tensor, ...], tokens: Tensor, references: Tensor) -> QuerySet:
        """Decode another detector's queries: its tokens (B, Q), its reference boxes (B, Q, 4) in [0, 1].

        Two detectors of one canvas that decode the same tokens and references speak of the same queries.
        """
        content = self.model.enc_output(_rows(_flat(features), tokens)).detach()
        return self.decode(features, content, torch.logit(references, eps=1e-5))

    def forward(self, image: Tensor, targets: Targets | None = None) -> Predictions:
        """Detect. `targets` are needed for denoising queries only, and only in training mode."""
        features = self.encode(image)
        model, shapes = self.model, tuple(_shapes(features))
        anchors, valid = model.generate_anchors(shapes, device=image.device, dtype=torch.float32)  # pyright: ignore[reportArgumentType]
        memory = model.enc_output(valid.float() * _flat(features))
        logits, boxes = model.enc_score_head(memory).float(), model.enc_bbox_head(memory).float() + anchors
        tokens = logits.amax(-1).topk(self.config.queries, dim=1).indices
        # Nothing is learnt through a query's start: proposals have losses of their own.
        content, references = _rows(memory, tokens).detach(), _rows(boxes, tokens)
        start, noised = references.detach(), None
        denoising = self._denoising(targets) if self.training and targets is not None else None
        if denoising is None:
            queries = self.decode(features, content, start)
        else:
            noise, noise_start, mask = denoising
            whole = self.decode(
                features, torch.cat([noise, content], 1), torch.cat([noise_start, start], 1), mask
            )
            split = noise.shape[1]
            queries, noised = _part(whole, split, None), _part(whole, 0, split)
        return Predictions(
            queries=queries,
            noised=noised,
            proposal_logits=_rows(logits, tokens),
            proposal_boxes=references.sigmoid(),
            dense_logits=logits,
            dense_boxes=boxes.sigmoid(),
            tokens=tokens,
            points=token_points(shapes, image.device),
            features=features,
        )

    def _denoising(self, targets: Targets) -> tuple[Tensor, Tensor, Tensor] | None:
        """Contrastive denoising queries (DINO): content, reference logits, attention mask; or None."""
        content, references, mask, _ = get_contrastive_denoising_training_group(
            targets=[
                {"class_labels": targets.labels[i, :n], "boxes": targets.boxes[i, :n]}
                for i, n in enumerate(targets.counts)
            ],
            num_classes=len(CANONICAL),
            num_queries=self.config.queries,
            class_embed=getattr(self.model, "denoising_class_embed", None),
            num_denoising_queries=self.config.denoising,
        )
        return None if content is None else (content, references, mask)  # pyright: ignore[reportReturnType]


def _shapes(features: tuple[Tensor, ...]) -> list[tuple[int, int]]:
    return [(level.shape[-2], level.shape[-1]) for level in features]


def _flat(features: tuple[Tensor, ...]) -> Tensor:
    """Tokens of all levels: (B, M, hidden)."""
    return torch.cat([level.flatten(2).transpose(1, 2) for level in features], dim=1)


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """Rows `index` (B, Q) of values (B, M, n): (B, Q, n)."""
    return values.gather(1, index.unsqueeze(-1).expand(-1, -1, values.shape[-1]))


class Integral(nn.Module):
    """Edge distributions to offsets, in float32 even under autocast: bfloat16 would shift boxes by pixels."""

    def forward(self, edges: Tensor, weights: Tensor) -> Tensor:
        """Logits (B, Q, 4 (N + 1)) and W (N + 1,) to offsets (B, Q, 4)."""
        with full_precision(edges.device.type):
            return edges.float().unflatten(-1, (4, -1)).softmax(-1) @ weights


def _part(whole: QuerySet, start: int, end: int | None) -> QuerySet:
    return QuerySet(
        whole.logits[:, :, start:end],
        whole.boxes[:, :, start:end],
        whole.edges[:, :, start:end],
        whole.origins[:, start:end],
    )


def full_precision(device: str) -> contextlib.AbstractContextManager:
    """Turns autocast off where it is on; where it is not, nothing that an exporter would have to trace."""
    if torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return contextlib.nullcontext()


def token_points(shapes: tuple[tuple[int, int], ...], device: torch.device) -> Tensor:
    """Middles of the tokens of all levels, in their flattened order: (M, 2) x, y in [0, 1]."""
    levels = []
    for height, width in shapes:
        y, x = torch.meshgrid(
            (torch.arange(height, device=device) + 0.5) / height,
            (torch.arange(width, device=device) + 0.5) / width,
            indexing="ij",
        )
        levels.append(torch.stack([x, y], dim=-1).flatten(0, 1))
    return torch.cat(levels)


def detector_config(config: DFineConfig) -> DetectorConfig:
    """transformers' configuration. Raises UsageError for a backbone that timm does not know or cannot use."""
    hidden, heads = config.hidden, max(1, config.hidden // 32)
    return DetectorConfig(
        backbone_config={
            "model_type": "timm_backbone",
            "backbone": config.backbone,
            "out_indices": [1, 2, 3],
        },
        encoder_in_channels=backbone_channels(config.backbone),
        freeze_backbone_batch_norms=False,
        encoder_hidden_dim=hidden,
        encoder_ffn_dim=hidden * 4,
        encoder_attention_heads=heads,
        d_model=hidden,
        decoder_in_channels=[hidden] * len(STRIDES),
        decoder_ffn_dim=hidden * 4,
        decoder_attention_heads=heads,
        decoder_layers=config.decoder_layers,
        num_queries=config.queries,
        num_denoising=config.denoising,
        num_labels=len(CANONICAL),  # pyright: ignore[reportCallIssue]
        max_num_bins=fdr.BINS,
        reg_scale=fdr.SCALE,
        up=fdr.UP,
        depth_mult=config.depth,
        hidden_expansion=config.expansion,
        tie_word_embeddings=False,  # each layer has its own heads, as in D-FINE
    )


def backbone_channels(backbone: str) -> list[int]:
    """Channels of the backbone's maps of strides 8, 16 and 32, as timm has them."""
    try:
        model = timm.create_model(backbone, features_only=True, out_indices=(1, 2, 3))
    except (RuntimeError, ValueError, IndexError) as error:
        raise UsageError(f"backbone '{backbone}': timm cannot give its features: {error}") from error
    info: Any = model.feature_info  # timm leaves it untyped
    if tuple(info.reduction()) != STRIDES:
        raise UsageError(f"backbone '{backbone}': strides {info.reduction()}, need {list(STRIDES)}")
    return list(info.channels())


def build_network(config: DFineConfig) -> DFine:
    """A detector with the backbone weights that `config.weights` names, or random ones where it is None.

    Raises UsageError for an unknown backbone, InputError for weights that cannot be had or do not fit.
    """
    network = DFine(config)
    backbone = network.model.backbone.model._backbone
    if config.weights is None:
        return network
    if config.weights == "hub":
        try:
            pretrained = timm.create_model(
                config.backbone, pretrained=True, features_only=True, out_indices=(1, 2, 3)
            )
        except (RuntimeError, OSError, ValueError) as error:
            raise InputError(
                f"backbone '{config.backbone}': no weights from the hub ({error}); "
                "set `weights` to a local safetensors file, or to null for random ones"
            ) from error
        backbone.load_state_dict(pretrained.state_dict())
        return network
    load_backbone(backbone, Path(config.weights))
    return network


def load_backbone(backbone: nn.Module, path: Path) -> None:
    """Load timm weights of the whole classifier or of its features; heads that we have not are left out."""
    try:
        tensors = load_file(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not usable as safetensors weights: {error}") from error
    # timm names a stage `stages.0` in the classifier and `stages_0` among the features.
    renamed = {
        name.replace("stem.", "stem_").replace("stages.", "stages_"): value for name, value in tensors.items()
    }
    known = {name: value for name, value in renamed.items() if name in backbone.state_dict()}
    missing = sorted(set(backbone.state_dict()) - set(known))
    if missing:
        raise InputError(
            f"{path}: no weights for {missing[0]} and {len(missing) - 1} more of the backbone's tensors"
        )
    try:
        backbone.load_state_dict(known)
    except RuntimeError as error:
        raise InputError(f"{path}: weights of another backbone: {str(error)[:200]}") from None
