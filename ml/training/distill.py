"""`scriptorium distill`: train a student from a frozen teacher; loss = alpha * KD + beta * truth.

A small Trident's is in `ml/training/trident_distill.py`; here is the layout students'.

Teacher and student see the same canvas through grids of the same strides, so three things can be compared
without matching anything, and are:

- *tokens*: what the encoder says of every place, class by class and box by box. The teacher's soft answer in
  each of some two thousand places is far denser than a page's dozen true boxes.
- *queries*: both decoders run on the teacher's queries (the same tokens, the same reference boxes), so query
  i means the same to both and logits and boxes are comparable index by index (KD-DETR, arXiv 2211.08071).
  The student's own queries, aligned by index, would be compared with unrelated regions.
- *features*: the direction of the encoder's feature vectors (cosine, as in RT-DETRv4), where widths agree.

Edge distributions are not compared: their bins move different origin boxes in the two models. A student
starts from the teacher's weights where they fit (inheriting, Kang et al. 2021; DistilBERT).
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ml.augment.cache import AugmentationCache
from ml.config import DistillConfig, Params, add_params_option, load_params
from ml.errors import UsageError
from ml.models.dfine.boxes import corners, overlaps
from ml.models.dfine.criterion import WEIGHTS
from ml.models.dfine.network import DFine, Predictions
from ml.models.dfine.processor import canvas_of
from ml.models.trident.network import Trident
from ml.progress import say
from ml.training.checkpoint import load
from ml.training.layout import Batch, LayoutSteps, LayoutSystem, fresh_network, targets_of, train_detector
from ml.training.soft_targets import soft_classes
from ml.training.train import start_of, training_state, weights_digest
from ml.training.trident_distill import make_student
from ml.training.trident_fit import fit_trident


def boxes_like(student: Tensor, teacher: Tensor, confidence: Tensor) -> Tensor:
    """L1 and GIoU to the teacher's boxes (..., 4), each counted by the teacher's confidence (...). Scalar."""
    teacher, weight = teacher.detach(), confidence.detach()
    _, giou = overlaps(corners(student), corners(teacher))
    l1 = (student - teacher).abs().sum(-1)
    return (weight * (WEIGHTS["l1"] * l1 + WEIGHTS["giou"] * (1 - giou))).sum() / weight.sum().clamp(min=1)


def inherit(student: DFine, teacher: DFine) -> int:
    """Copy the teacher's weights where they fit; a backbone only as a whole. Returns how many tensors.

    With the teacher's backbone and fewer decoder layers this is DistilBERT's start: the teacher, cut short.
    """
    theirs, copied = teacher.state_dict(), 0
    same = student.config.backbone == teacher.config.backbone
    for name, value in student.state_dict().items():
        fits = name in theirs and theirs[name].shape == value.shape
        if fits and (same or "backbone" not in name.split(".")):
            value.copy_(theirs[name])
            copied += 1
    return copied


class DistillationSystem(LayoutSystem):
    """A student that learns from the truth and from a frozen teacher."""

    def __init__(self, network: DFine, teacher: DFine, config: DistillConfig) -> None:
        super().__init__(network)
        # In a tuple, so that the teacher is no part of this module: it is neither trained nor saved.
        self._teacher = (teacher.eval().requires_grad_(False),)
        self.config = config
        self.same_width = network.config.hidden == teacher.config.hidden

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The criterion's parts times beta, the teacher's times alpha, and their sum."""
        targets = targets_of(batch)
        found = self.network(batch["image"], targets)
        truth = self.criterion(found, targets)
        parts = {name: self.config.beta * value for name, value in truth.items()}
        if self.config.alpha and self.progress >= self.config.start:
            taught = self.distillation(found, batch["image"])
            parts |= {name: self.config.alpha * value for name, value in taught.items()}
        return {"total": torch.stack(list(parts.values())).sum(), **parts}

    def distillation(self, found: Predictions, image: Tensor) -> dict[str, Tensor]:
        """How far the student is from the teacher: 'kd_tokens', 'kd_queries', 'kd_features'."""
        teacher, temperature = self._teacher[0].to(image.device), self.config.temperature
        with torch.no_grad():
            known = teacher(image)
        certain = known.dense_logits.sigmoid().amax(-1)
        on_tokens = soft_classes(found.dense_logits, known.dense_logits, temperature) + boxes_like(
            found.dense_boxes, known.dense_boxes, certain
        )
        ours, theirs = (
            self.network.decode_like(found.features, known.tokens, known.proposal_boxes),
            known.queries,
        )
        sure = theirs.logits[-1].sigmoid().amax(-1)
        layers = len(ours.edges)  # the head before them is left to the truth
        on_queries = torch.stack(
            [
                soft_classes(logits, theirs.logits[-1], temperature)
                + boxes_like(boxes, theirs.boxes[-1], sure)
                for logits, boxes in zip(ours.logits[-layers:], ours.boxes[-layers:], strict=True)
            ]
        ).sum()
        parts = {"kd_tokens": on_tokens, "kd_queries": on_queries}
        if self.same_width and self.config.features:
            levels = zip(found.features, known.features, strict=True)
            apart = [(1 - F.cosine_similarity(ours, theirs, dim=1)).mean() for ours, theirs in levels]
            parts["kd_features"] = self.config.features * torch.stack(apart).sum()
        return parts


def train_student(
    params: Params,
    teacher: DFine,
    data: Path,
    cache: Path | None,
    out: Path,
    *,
    metrics: Path,
    state: Path,
    workers: int = 1,
) -> dict[str, float]:
    """Distil `teacher` into a student. Raises UsageError where their canvases differ."""
    config = params.student
    if canvas_of(config) != canvas_of(teacher.config):
        raise UsageError(
            f"student and teacher must share a canvas: {canvas_of(config)} and {canvas_of(teacher.config)}; "
            "set the student's `short_edge`, `long_edge` and `step` to the teacher's"
        )
    steps = LayoutSteps(data, AugmentationCache(cache) if cache else None, config, params.seed)
    network = fresh_network(config, params.seed)
    if config.distill.inherit:
        copied = inherit(network, teacher)
        say(f"student: {copied} tensors inherited from the teacher")
    system = DistillationSystem(network, teacher, config.distill)
    return train_detector(
        "student", system, steps, data=data, out=out, metrics=metrics, state=state, workers=workers
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name",
        choices=["student", "trident"],
        help="a layout student, or a Trident of params.yaml's `trident`",
    )
    parser.add_argument(
        "--teacher", type=Path, default=Path("models/teacher"), metavar="DIR", help="its checkpoint"
    )
    parser.add_argument("--data", type=Path, default=Path("data/snapshot"), metavar="DIR", help="the dataset")
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="augmentation cache; without it pages are as they are"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="checkpoint folder (default: models/NAME)")
    parser.add_argument(
        "--metrics", type=Path, default=Path("metrics"), metavar="DIR", help="folder of the figures"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="forget a training that was interrupted, and start over"
    )
    parser.add_argument(
        "--workers", type=int, default=1, help="processes that prepare batches (default: %(default)s)"
    )
    add_params_option(parser)
    parser.set_defaults(start=None, from_scratch=False)  # a Trident starts from `trident.start`


def run(args: argparse.Namespace) -> int:
    params = load_params(args.params)
    teacher, card = load(args.teacher)
    out = args.out or Path("models") / args.name
    if out.resolve() == args.teacher.resolve():
        raise UsageError(f"{out}: the student would replace its teacher; give another --out")
    places = {"metrics": args.metrics, "workers": args.workers}
    # Another teacher, another student: a resumable state is never shared between two.
    key = weights_digest(args.teacher)
    if args.name == "student" and isinstance(teacher, DFine):
        key = params.student.model_dump_json() + key
        state = training_state("student", key, params.seed, args.data, args.fresh)
        train_student(params, teacher, args.data, args.cache, out, state=state, **places)
    elif args.name == "trident" and isinstance(teacher, Trident):
        # What imitates comes under the teacher's heads; between sizes little of a teacher fits.
        start = args.teacher if params.trident.distill.imitate else start_of(params, args)
        key = params.trident.model_dump_json() + key + (weights_digest(start) if start else "")
        state = training_state("trident_student", key, params.seed, args.data, args.fresh)
        system, steps = make_student(params, teacher, args.data, args.cache)
        say(f"trident_student: taught by {sum(teacher.parameter_counts().values()) / 1e6:.2f} M parameters")
        fit_trident(
            "trident_student",
            system,
            steps,
            params,
            data=args.data,
            val=steps.val,
            out=out,
            start=start,
            state=state,
            **places,
        )
    else:
        family = "trident" if args.name == "trident" else "teacher"
        raise UsageError(
            f"{args.teacher}: a {card['model']} cannot teach a {args.name}; give a folder of `train {family}`"
        )
    shutil.rmtree(state, ignore_errors=True)
    return 0
