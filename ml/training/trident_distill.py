"""A small Trident learns from a large frozen one: loss = alpha * KD + beta * truth.

Both see the same pixels through levels of the same strides, and read the same boxes, so everything can be compared
place by place:

- *features*: the direction (cosine) of the levels that heads see, through a learned 1x1 projection where the widths
  differ;
- *words*, *regions*: what the dense heads say of each place. The teacher is asked everywhere, so it also teaches
  where a page's truth says nothing: pages without annotation, and how sure to be;
- *reading*: which character each column shows (KL). The truth only says which characters a word has, and CTC needs
  thousands of words to find out where; the teacher knows. And the decoder's next character, all before it told.

A backbone that is new under heads that exist first learns alone to give what theirs gave (`imitate`): heads asked of
a random backbone would forget what they know before it has learned anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ml.config import Params, TridentDistillConfig
from ml.errors import UsageError
from ml.models.charset import EOS, PAD
from ml.models.trident.fcos import giou, locations, sides_to_boxes
from ml.models.trident.network import Features, Trident
from ml.models.trident.reading import widened
from ml.pages import Page
from ml.training.soft_targets import soft_binary, soft_choice, soft_classes
from ml.training.trident import (
    Batch,
    Reading,
    TridentSteps,
    TridentSystem,
    forced,
    make,
    said,
)

#: Where the projections ride on the student while it trains.
PROJECTIONS = "projections"

Outputs = tuple[Tensor, Tensor, Tensor]


def dense_like(student: Outputs, teacher: Outputs, stride: int, temperature: float) -> Tensor:
    """How far an FCOS head's outputs are from the teacher's, as `FcosHead` gives them: (B, K | 4 | 1, h, w). Scalar.

    `soft_classes` + (1 - GIoU) of the boxes + soft centerness; the last two count by the teacher's confidence.
    """
    ours, theirs = ([x.float().flatten(2).transpose(1, 2) for x in outputs] for outputs in (student, teacher))
    height, width = student[0].shape[2:]
    points = locations(height, width, stride).to(ours[1])
    boxes = [sides_to_boxes(points.expand(len(x[1]), -1, -1), x[1]).flatten(0, 1) for x in (ours, theirs)]
    sure = theirs[0].sigmoid().amax(-1).flatten()
    apart = 1 - giou(*boxes) + soft_binary(ours[2], theirs[2]).flatten()
    return soft_classes(ours[0], theirs[0], temperature) + (sure * apart).sum() / sure.sum().clamp(min=1)


def check_comparable(student: Trident, teacher: Trident, imitate: bool = False) -> None:
    """Raises UsageError that names what two Tridents must share and do not: strides, charset, columns, length.

    To imitate also the widths of what heads see, for the heads are the teacher's.
    """
    own, given = student.config, teacher.config
    shared = [
        ("strides", "word_stride, layout_stride", *((c.word_stride, c.layout_stride) for c in (own, given))),
        ("columns", "roi", own.roi[1], given.roi[1]),
        ("narrow words", "narrow", own.narrow, given.narrow),
    ]
    if student.decoder and teacher.decoder:
        shared.append(("length", "length", own.length, given.length))
    if imitate:
        shared.append(
            ("widths", "channels, detail", (own.channels, own.detail), (given.channels, given.detail))
        )
    for what, keys, ours, theirs in shared:
        if ours != theirs:
            raise UsageError(
                f"student and teacher must share their {what}: {ours} and {theirs}; "
                f"give `trident` the teacher's {keys}"
            )
    if student.charset.symbols != teacher.charset.symbols:
        raise UsageError(
            f"student and teacher must share a charset: '{own.charset}' has {len(student.charset.symbols)} symbols, "
            f"the teacher's '{given.charset}' {len(teacher.charset.symbols)}; set `trident.charset` to the teacher's"
        )


class TridentDistillation(TridentSystem):
    """A student that learns from the truth and from a frozen teacher. Validation is on the truth alone."""

    def __init__(
        self,
        network: Trident,
        teacher: Trident,
        config: TridentDistillConfig,
        layout_known: bool,
        shown: Sequence[Page] = (),
    ) -> None:
        """Raises UsageError where the two cannot be compared."""
        super().__init__(network, layout_known, shown)
        check_comparable(network, teacher, config.imitate > 0)
        # In a tuple, so that the teacher is no part of this module: it is neither trained nor saved.
        self._teacher = (teacher.eval().requires_grad_(False),)
        self.config = config
        own, given = network.config.channels, teacher.config.channels
        # On the network, so that the engine optimises, averages and resumes them with it.
        network.add_module(
            PROJECTIONS,
            nn.ModuleList(nn.Conv2d(own, given, 1) if own != given else nn.Identity() for _ in range(2)),
        )

    def release(self) -> Trident:
        """The student without the projections: a Trident like any other."""
        delattr(self.network, PROJECTIONS)
        return self.network

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """'total', the truth's parts before beta, and the teacher's parts, 'kd_*', before alpha; or `imitation`."""
        if self.progress < self.config.imitate:
            return self.imitation(batch["image"])
        features, reading = self.look(batch)
        parts = self.truth(features, reading, batch)
        total = self.config.beta * parts.pop("total")
        if self.config.alpha and self.progress >= self.config.start:
            taught = self.distillation(features, reading, batch["image"])
            total = total + self.config.alpha * torch.stack(list(taught.values())).sum()
            parts |= taught
        return {"total": total, **parts}

    def imitation(self, image: Tensor) -> dict[str, Tensor]:
        """How far what heads see is from what the teacher's see, in its variances: each level and the detail.

        No head is asked, so none changes.
        """
        teacher = self._teacher[0].to(image.device)
        with torch.no_grad():
            known = teacher.maps(image)
        maps = zip(("kd_level", "kd_layout", "kd_detail"), self.network.maps(image), known, strict=True)
        parts = {
            name: F.mse_loss(ours.float(), theirs.float()) / theirs.float().var()
            for name, ours, theirs in maps
            if ours is not None and theirs is not None
        }
        return {"total": torch.stack(list(parts.values())).sum(), **parts}

    def distillation(self, features: Features, reading: Reading | None, image: Tensor) -> dict[str, Tensor]:
        """How far the student is from the teacher, each head by its weight in the truth's loss."""
        teacher, weights = self._teacher[0].to(image.device), self.network.config
        with torch.no_grad():
            known = teacher(image)
        temperature = self.config.temperature
        words = dense_like(features.words, known.words, weights.word_stride, temperature)
        regions = dense_like(features.regions, known.regions, weights.layout_stride, temperature)
        parallel, serial = self._reading_like(reading, known) if reading else (words.new_zeros(()),) * 2
        return {
            "kd_features": self.config.features * self._directions_apart(features, known),
            "kd_words": weights.detection_weight * words,
            "kd_regions": weights.layout_weight * regions,
            "kd_ctc": weights.reading_weight * parallel,
            "kd_decoder": weights.reading_weight * serial,
        }

    def _directions_apart(self, features: Features, known: Features) -> Tensor:
        """1 - cosine between the feature vectors, the mean of each level, summed."""
        projections = self.network.get_submodule(PROJECTIONS).children()
        levels = ((features.level, known.level), (features.layout, known.layout))
        apart = [
            1 - F.cosine_similarity(project(ours).float(), theirs.float(), dim=1).mean()
            for project, (ours, theirs) in zip(projections, levels, strict=True)
        ]
        return torch.stack(apart).sum()

    def _reading_like(self, reading: Reading, known: Features) -> tuple[Tensor, Tensor]:
        """KL of both reading heads to the teacher's on the same words, in nats a character as their own losses.

        Not softened: a CTC path is spikes between blanks, and softened ones taught less than the truth alone.
        """
        teacher = self._teacher[0]
        count = 0 if reading.serial is None else len(reading.serial)
        with torch.no_grad():
            views, page = widened(reading.seen), reading.page
            parallel = said(teacher, known, views, page)
            serial = (
                forced(teacher, known, views[:count], page[:count], reading.text[:count]) if count else None
            )
        characters = ((reading.text != PAD) & (reading.text != EOS)).sum(-1).clamp(min=1)
        columns = soft_choice(reading.parallel, parallel, temperature=1.0)  # (N, T)
        by_column = (columns.sum(-1) / characters).mean()
        if reading.serial is None or serial is None:
            return by_column, torch.zeros_like(by_column)
        told = reading.text[:count] != PAD
        return by_column, soft_choice(reading.serial, serial, temperature=1.0)[told].mean()


def make_student(
    params: Params, teacher: Trident, data: Path, cache: Path | None
) -> tuple[TridentDistillation, TridentSteps]:
    """The system and its data, as `make` gives them, taught by `teacher`. Raises what `check_comparable` raises."""
    alone, steps = make(params, data, cache)
    teacher = teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    known = bool(alone.layout_weight)
    return TridentDistillation(alone.network, teacher, params.trident.distill, known, alone.shown), steps
