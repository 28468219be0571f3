"""Training D-FINE on page regions: pages to targets, and the detector with its criterion."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from ml.augment.cache import AugmentationCache
from ml.augment.geometric import geometric
from ml.config import DFineConfig, Params
from ml.errors import InputError
from ml.evaluation.layout import PageLayout, average_precision
from ml.models.dfine.boxes import Targets, corners
from ml.models.dfine.criterion import Criterion
from ml.models.dfine.network import DFine, build_network
from ml.models.dfine.processor import canvas_of
from ml.models.processor import Card
from ml.pages import Page
from ml.pages.labels import CANONICAL
from ml.pages.store import PageStore
from ml.progress import say
from ml.training.engine import Steps, fit
from ml.training.train import snapshot_digest, write_metrics

Batch = dict[str, Tensor]

#: Regions under this score are not reported by a trained model. Low: average precision wants the tail.
THRESHOLD = 0.05
#: Under this score a region is not shown to people.
SHOWN = 0.3


class LayoutSteps(Steps):
    """Batches of pages letterboxed into one canvas; batch k is a function of (seed, k).

    Pages whose regions are not annotated are skipped. Pages are never flipped: text does not run backwards.
    """

    def __init__(self, data: Path, cache: AugmentationCache | None, config: DFineConfig, seed: int) -> None:
        self.train, self.val = PageStore(data / "train"), PageStore(data / "val")
        self.pages, self.held = (
            [i for i, entry in enumerate(store.entries) if entry.regions is not None]
            for store in (self.train, self.val)
        )
        if not self.pages or not self.held:
            raise InputError(
                f"{data}: layout needs annotated pages in both train/ and val/; land pages with regions"
            )
        self.cache, self.config, self.seed = cache, config, seed
        self.canvas = canvas_of(config)

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng([self.seed, step])
        size, count = self.config.training.batch, len(self.pages)
        # Epochs run on across batches, so that every page is seen equally often.
        places = range(step * size, (step + 1) * size)
        chosen = [self._order(place // count)[place % count] for place in places]
        return self._batch([self._example(self.train[i], rng) for i in chosen])

    @lru_cache(maxsize=4)  # noqa: B019  (the steps live as long as the training)
    def _order(self, epoch: int) -> list[int]:
        return np.random.default_rng([self.seed, epoch, 1]).permutation(self.pages).tolist()

    def validation(self) -> Iterable[Batch]:
        size = self.config.training.batch
        for start in range(0, len(self.held), size):
            yield self._batch([self._example(self.val[i], None) for i in self.held[start : start + size]])

    def _example(
        self, page: Page, rng: np.random.Generator | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Canvas, boxes (n, 4) x1, y1, x2, y2 as shares of it, labels (n,). Without `rng` as it is served."""
        height, width = self.canvas
        scale, left, top = min(height / page.height, width / page.width), 0, 0
        pixels = page.pixels() if rng is None else self._pixels(page, rng)
        if rng is not None:
            lowest, highest = self.config.short_edge
            scale *= rng.uniform(lowest, highest) / highest
            left = int(rng.integers(0, width - min(width, round(page.width * scale)) + 1))
            top = int(rng.integers(0, height - min(height, round(page.height * scale)) + 1))
        canvas = np.full((height, width, 3), 255, np.uint8)
        right, bottom = (
            min(width, left + round(page.width * scale)),
            min(height, top + round(page.height * scale)),
        )
        canvas[top:bottom, left:right] = cv2.resize(
            pixels, (right - left, bottom - top), interpolation=cv2.INTER_AREA
        )
        regions = [region for region in page.regions or () if region.label in CANONICAL]
        boxes = np.array([region.box for region in regions], np.float32).reshape(-1, 4) * scale
        boxes += np.array([left, top, left, top], np.float32)
        if rng is not None and self.config.geometric:
            canvas, boxes = geometric(canvas, boxes, rng)
        boxes /= np.array([width, height, width, height], np.float32)
        labels = np.array([CANONICAL.index(region.label) for region in regions], np.int64)
        real = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        return canvas, boxes[real].clip(0, 1).astype(np.float32), labels[real]

    def _pixels(self, page: Page, rng: np.random.Generator) -> np.ndarray:
        """The page as it is, or one of its cached variants."""
        variant = int(rng.integers(self.cache.variants + 1)) if self.cache else -1
        return (
            page.pixels()
            if self.cache is None or variant == self.cache.variants
            else self.cache.image(page.id, variant)
        )

    @staticmethod
    def _batch(examples: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Batch:
        most = max(1, *(len(labels) for _, _, labels in examples))
        boxes = np.zeros((len(examples), most, 4), np.float32)
        labels = np.full((len(examples), most), -1, np.int64)
        for i, (_, found, names) in enumerate(examples):
            boxes[i, : len(found), :2] = (found[:, :2] + found[:, 2:]) / 2
            boxes[i, : len(found), 2:] = found[:, 2:] - found[:, :2]
            labels[i, : len(names)] = names
        image = np.stack([canvas for canvas, _, _ in examples])
        return {
            "image": torch.from_numpy(image),
            "boxes": torch.from_numpy(boxes),
            "labels": torch.from_numpy(labels),
        }


def targets_of(batch: Batch) -> Targets:
    """The batch's true regions."""
    return Targets(batch["boxes"], batch["labels"])


class LayoutSystem(nn.Module):
    """A detector with its criterion, selected by AP50 on held-out pages."""

    selection: tuple[str, Literal["min", "max"]] = ("ap50", "max")
    progress = 0.0

    def __init__(self, network: DFine) -> None:
        super().__init__()
        self.network = network
        self.criterion = Criterion()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The criterion's parts and their sum."""
        targets = targets_of(batch)
        parts = self.criterion(self.network(batch["image"], targets), targets)
        return {"total": torch.stack(list(parts.values())).sum(), **parts}

    def validate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """COCO AP on held-out pages, in canvas pixels."""
        pages = [page for batch in batches for page in self._layouts(batch)]
        scores = average_precision(pages, CANONICAL)
        return {"ap": scores.ap, "ap50": scores.ap50} if scores else {"ap": 0.0, "ap50": 0.0}

    def _layouts(self, batch: Batch) -> Iterable[PageLayout]:
        height, width = batch["image"].shape[1:3]
        size = torch.tensor([width, height, width, height], dtype=torch.float32)
        queries = self.network(batch["image"]).queries
        logits, boxes = queries.logits[-1].float().cpu(), corners(queries.boxes[-1].float().cpu()) * size
        truth = corners(batch["boxes"].cpu()) * size
        for i, labels in enumerate(batch["labels"].cpu()):
            scores, places = logits[i].sigmoid().flatten().topk(logits.shape[1])
            known = labels >= 0
            yield PageLayout(
                truth[i][known].double().numpy(),
                labels[known].numpy(),
                boxes[i][places // logits.shape[-1]].double().numpy(),
                (places % logits.shape[-1]).numpy(),
                scores.double().numpy(),
            )


def card(name: str, network: DFine, data: str, metrics: dict[str, float]) -> Card:
    """The checkpoint's model card."""
    height, width = canvas_of(network.config)
    fields = DFineConfig.model_fields.keys() - {"training"}
    return {
        "name": name,
        "model": "dfine",
        "version": 1,
        "config": network.config.model_dump(mode="json", include=set(fields)),
        "labels": list(CANONICAL),
        "charset": None,
        "preprocess": {"height": height, "width": width},
        "thresholds": {"region": THRESHOLD, "shown": SHOWN},
        "data": data,
        "metrics": metrics,
    }


def fresh_network(config: DFineConfig, seed: int) -> DFine:
    """A detector whose first weights are a function of the seed."""
    torch.manual_seed(seed)
    return build_network(config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def train_detector(
    name: str,
    system: LayoutSystem,
    steps: LayoutSteps,
    *,
    data: Path,
    out: Path,
    metrics: Path,
    state: Path,
    workers: int,
) -> dict[str, float]:
    """Train, and write the checkpoint `out`, `metrics`/NAME.json and NAME.csv. Returns the best figures."""
    from ml.training.checkpoint import save  # noqa: PLC0415  (checkpoint imports every family)

    network, config = system.network, system.network.config
    size = sum(parameter.numel() for parameter in network.parameters())
    canvas = " x ".join(map(str, steps.canvas))
    say(f"{name}: {config.backbone}, {size / 1e6:.2f} M parameters, canvas {canvas}")
    summary = fit(
        system,
        steps,
        config.training,
        seed=steps.seed,
        state=state,
        log=metrics / f"{name}.csv",
        what=name,
        workers=workers,
    )
    save(out, network, card(name, network, snapshot_digest(data), summary.metrics))
    write_metrics(metrics / f"{name}.json", summary.metrics, best_step=summary.best_step, parameters=size)
    figures = ", ".join(f"{key} {value:.3f}" for key, value in summary.metrics.items())
    print(f"{out}: best at step {summary.best_step} of {summary.steps}, {figures}")
    return summary.metrics


def train_teacher(
    params: Params,
    data: Path,
    cache: Path | None,
    out: Path,
    *,
    metrics: Path,
    state: Path,
    workers: int = 1,
) -> dict[str, float]:
    """Train the layout teacher on a dataset. Raises InputError where no page has regions."""
    steps = LayoutSteps(data, AugmentationCache(cache) if cache else None, params.teacher, params.seed)
    system = LayoutSystem(fresh_network(params.teacher, params.seed))
    return train_detector(
        "teacher", system, steps, data=data, out=out, metrics=metrics, state=state, workers=workers
    )
