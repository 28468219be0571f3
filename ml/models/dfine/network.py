"""D-FINE over a timm backbone: transformers' network, built without a hub, its outputs paired aright."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import DFineConfig as DetectorConfig
from transformers import DFineForObjectDetection
from transformers.modeling_outputs import BaseModelOutput

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
        self.model.decoder.integral = Integral()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def encode(self, image: Tensor) -> tuple[Tensor, ...]:
        """Pages to features of strides 8, 16, 32, in float32."""
        pixels = (image.permute(0, 3, 1, 2).float() - self.mean) / self.std  # type: ignore[operator]
        maps = self.model.backbone.model(pixels).feature_maps
        lateral = [project(level) for project, level in zip(self.model.encoder_input_proj, maps, strict=True)]
        return tuple(level.float() for level in self.model.encoder(lateral).last_hidden_state)

    def decode(self, features: tuple[Tensor, ...], tokens: Tensor, references: Tensor) -> QuerySet:
        """Decode queries that were chosen elsewhere: tokens (B, Q) of all levels, references (B, Q, 4).

        References are boxes in [0, 1]. Two detectors of one canvas that are given the same tokens and
        references speak of the same queries, in the same order.
        """
        shapes = [(level.shape[-2], level.shape[-1]) for level in features]
        memory = torch.cat([level.flatten(2).transpose(1, 2) for level in features], dim=1)
        chosen = memory.gather(1, tokens.unsqueeze(-1).expand(-1, -1, memory.shape[-1]))
        output = self.model.decoder(
            inputs_embeds=self.model.enc_output(chosen).detach(),  # as the network's own queries are
            encoder_hidden_states=memory,
            reference_points=torch.logit(references, eps=1e-5),
            spatial_shapes=torch.tensor(shapes, device=memory.device),
            spatial_shapes_list=shapes,
        )
        return _query_set(output)

    def forward(self, image: Tensor, targets: Targets | None = None) -> Predictions:
        """Detect. `targets` are needed for denoising queries only, and only in training mode."""
        features = self.encode(image)
        labels = None
        if self.training and targets is not None:
            labels = [
                {"class_labels": targets.labels[i, :n], "boxes": targets.boxes[i, :n]}
                for i, n in enumerate(targets.counts)
            ]
        output = self.model(
            pixel_values=None,
            inputs_embeds=features[0],
            encoder_outputs=BaseModelOutput(last_hidden_state=list(features)),  # type: ignore[arg-type]
            labels=labels,
        )
        whole = _query_set(output)
        # Known only at run time: an untrained batch without regions has no denoising queries.
        split = output.denoising_meta_values["dn_num_split"][0] if output.denoising_meta_values else 0
        return Predictions(
            queries=_part(whole, split, None),
            noised=_part(whole, 0, split) if split else None,
            proposal_logits=output.enc_topk_logits.float(),
            proposal_boxes=output.enc_topk_bboxes,
            dense_logits=output.enc_outputs_class.float(),
            dense_boxes=output.enc_outputs_coord_logits.sigmoid(),
            points=token_points(
                tuple((level.shape[-2], level.shape[-1]) for level in features), image.device
            ),
            features=features,
        )


def chosen_tokens(predictions: Predictions) -> Tensor:
    """The tokens that became queries, in the queries' order: (B, Q) indices."""
    return predictions.dense_logits.amax(-1).topk(predictions.proposal_logits.shape[1], dim=1).indices


class Integral(nn.Module):
    """Edge distributions to offsets, in float32 even under autocast: bfloat16 would shift boxes by pixels."""

    def forward(self, edges: Tensor, weights: Tensor) -> Tensor:
        """Logits (B, Q, 4 (N + 1)) and W (N + 1,) to offsets (B, Q, 4)."""
        with full_precision(edges.device.type):
            return edges.float().unflatten(-1, (4, -1)).softmax(-1) @ weights


def _query_set(output) -> QuerySet:
    """transformers' decoder output, whose layer axis is the second, with every number in float32."""
    return QuerySet(
        output.intermediate_logits.float().transpose(0, 1),
        output.intermediate_reference_points.float().transpose(0, 1),
        output.intermediate_predicted_corners.float().transpose(0, 1),
        output.initial_reference_points[:, 0].float(),
    )


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
        num_labels=len(CANONICAL),
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
    info = model.feature_info
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
        awaken(backbone)
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


@torch.no_grad()
def awaken(backbone: nn.Module) -> None:
    """Initialise a backbone for a training of hundreds of steps.

    timm starts ConvNeXt for hundreds of epochs: weights of 0.02 and layer scales of 1e-6, so that all blocks
    are silent at first. Here every weight has the scale of its fan-in, and every block speaks.
    """
    for name, parameter in backbone.named_parameters():
        if name.endswith("gamma") and parameter.ndim == 1:
            parameter.fill_(1.0)
        elif parameter.ndim > 1:
            nn.init.trunc_normal_(parameter, std=parameter[0].numel() ** -0.5)


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
