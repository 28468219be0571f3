"""Training Trident: pages to targets, and the losses of its three heads together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ml.augment.cache import AugmentationCache
from ml.config import Params, TridentConfig
from ml.errors import InputError
from ml.evaluation.detection import best_threshold, match
from ml.models import charset
from ml.models.charset import EOS, PAD, SOS
from ml.models.processor import Card, letterbox, processor_for
from ml.models.trident.fcos import assign, fcos_loss
from ml.models.trident.graph import graph_for
from ml.models.trident.network import Features, Trident
from ml.models.trident.processor import LABELS, MOST_SCALE, canvas_of
from ml.models.trident.reading import (
    ctc_loss,
    decoder_loss,
    flat_start,
    is_narrow,
    letter_widths,
    widened,
)
from ml.pages import Page
from ml.pages.labels import PUBLAYNET, TO_PUBLAYNET
from ml.pages.page import Box, Word
from ml.pages.store import PageStore
from ml.runners import TorchRunner
from ml.training.engine import Steps
from ml.training.pictures import pictures

Batch = dict[str, Tensor]

#: Share of the crops that lie around one of the page's words, so that most hold many.
ON_WORDS = 0.8
#: What is left of the light on dark pages: archives are scanned with paper at half of full scale.
DARK = (0.35, 0.85)
#: Logit of the blank in columns that a narrow word does not have.
SURELY = 20.0
#: Held-out pages that are shown after each validation.
SHOWN = 2


@dataclass(frozen=True)
class View:
    """What of a page is seen: from its pixel (x, y) on, times `scale`, on a canvas of `height` by `width`."""

    scale: float
    x: int
    y: int
    height: int
    width: int

    def cut(self, pixels: np.ndarray) -> np.ndarray:
        """The view of a page, uint8 (H, W, 3), white where the page ends."""
        bottom, right = self.y + int(self.height / self.scale), self.x + int(self.width / self.scale)
        return letterbox(pixels[self.y : bottom, self.x : right], self.scale, self.height, self.width)

    def boxes(self, boxes: Sequence[Box], least: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What is seen of boxes in pixels of the page: (M, 4); which of these are whole (M,); their numbers (M,).

        Boxes that the edge cuts to less than `least` pixels are left out: nobody could tell what they are.
        """
        moved = (np.array(boxes, np.float32).reshape(-1, 4) - [self.x, self.y, self.x, self.y]) * self.scale
        seen = np.clip(moved, 0, [self.width, self.height, self.width, self.height]).astype(np.float32)
        whole = np.all(np.abs(seen - moved) <= 1, axis=1)
        wanted = np.where(whole, 0.5, least)
        kept = np.flatnonzero((seen[:, 2:] - seen[:, :2]).min(1) >= wanted)
        return seen[kept], whole[kept], kept


class TridentSteps(Steps):
    """Batches of pages of one canvas shape; batch k is a function of (seed, k)."""

    def __init__(self, data: Path, cache: AugmentationCache | None, config: TridentConfig, seed: int) -> None:
        self.train, self.val = PageStore(data / "train"), PageStore(data / "val")
        if len(self.train) == 0 or len(self.val) == 0:
            raise InputError(f"{data}: training needs pages in both train/ and val/; land more documents")
        self.cache, self.config, self.seed = cache, config, seed
        self.charset = charset.named(config.charset)
        self.buckets = self._buckets(self.train)
        self.epoch = sum(-(-len(pages) // config.training.batch) for pages in self.buckets.values())

    def _buckets(self, store: PageStore) -> dict[tuple[int, int], list[int]]:
        """Page numbers by canvas shape, in a fixed order."""
        if self.config.crop and store is self.train:
            return {(self.config.crop, self.config.crop): list(range(len(store)))}
        buckets: dict[tuple[int, int], list[int]] = {}
        for number, entry in enumerate(store.entries):
            _, *shape = canvas_of(entry.width, entry.height, self.config.long_edge)
            buckets.setdefault((shape[0], shape[1]), []).append(number)
        return dict(sorted(buckets.items()))

    def __getitem__(self, step: int) -> Batch:
        pages = self._epoch_batches(step // self.epoch)[step % self.epoch]
        batch = self._batch([self.train[i] for i in pages], np.random.default_rng([self.seed, step]))
        return batch | {"words": (batch["word_text"][..., 0] != PAD).sum()}

    def _epoch_batches(self, epoch: int) -> list[list[int]]:
        """All batches of an epoch, shuffled: every page once, the last batch of a bucket filled from its start."""
        rng = np.random.default_rng([self.seed, epoch, 1])
        size, batches = self.config.training.batch, []
        for pages in self.buckets.values():
            order = rng.permutation(pages)
            order = np.resize(order, -(-len(order) // size) * size)
            batches += order.reshape(-1, size).tolist()
        return [batches[i] for i in rng.permutation(len(batches))]

    def validation(self) -> Iterable[Batch]:
        size = self.config.training.batch
        for pages in self._buckets(self.val).values():
            for start in range(0, len(pages), size):
                yield self._batch([self.val[i] for i in pages[start : start + size]], None)

    def _batch(self, pages: list[Page], rng: np.random.Generator | None) -> Batch:
        """Targets of pages that share a canvas. Without `rng` (validation) nothing is drawn at random."""
        items = [self._page(page, self._view(page, rng), rng) for page in pages]
        batch = {key: _stack([item[key] for item in items]) for key in items[0]}
        return {key: torch.from_numpy(value) for key, value in batch.items()}

    def _view(self, page: Page, rng: np.random.Generator | None) -> View:
        """The whole page on its canvas or, where crops are trained on, a square of it at a random scale."""
        config = self.config
        scale, height, width = canvas_of(page.width, page.height, config.long_edge)
        if rng is None or not config.crop:
            return View(scale, 0, 0, height, width)
        if config.text_px and page.words:  # as `reading_edge` has it, of true words
            scale = min(MOST_SCALE, config.text_px / max(1.0, _print_height(page.words)))
        scale *= float(np.exp(rng.uniform(*np.log(config.zoom))))
        shown = int(config.crop / scale)  # pixels of the page
        last = np.maximum(0, np.array([page.width, page.height]) - shown)
        corner = rng.integers(last + 1)
        if page.words and rng.random() < ON_WORDS:
            x1, y1, x2, y2 = page.words[int(rng.integers(len(page.words)))].box
            middle = np.array([(x1 + x2) / 2, (y1 + y2) / 2])
            corner = np.clip((middle - rng.uniform(0, shown, 2)).astype(int), 0, last)
        return View(scale, int(corner[0]), int(corner[1]), config.crop, config.crop)

    def _page(self, page: Page, view: View, rng: np.random.Generator | None) -> dict[str, np.ndarray]:
        config = self.config
        image = view.cut(self._pixels(page, rng))
        if rng is not None and rng.random() < config.erasing:
            _erase(image, rng)
        if rng is not None and rng.random() < config.clogged and page.words:
            image = _clogged(image, view.scale * _print_height(page.words), rng)
        if rng is not None and rng.random() < config.dark:
            image = cv2.convertScaleAbs(image, alpha=rng.uniform(*DARK))
        if rng is not None and rng.random() < config.negative:
            image = 255 - image
        # A page annotated by lines says neither where its words are nor what each is: none of it is learned.
        told = page.words is not None and not any(len(word.text.split()) > 1 for word in page.words)
        words = [w for w in page.words or () if told and w.text]
        boxes, whole, shown = view.boxes([w.box for w in words], config.word_stride)
        text = np.full((len(boxes), config.length), PAD, np.int64)
        for i, number in enumerate(shown):
            if whole[i]:  # of a word cut by the edge, only the place is learned
                ids = self.charset.encode(words[number].text)[: config.length - 1]
                text[i, : len(ids) + 1] = [*ids, EOS]
        regions = [(r.box, TO_PUBLAYNET.get(r.label)) for r in page.regions or ()]
        known = [(box, PUBLAYNET.index(label)) for box, label in regions if label]
        region_boxes, _, kept = view.boxes([box for box, _ in known], config.layout_stride)
        stride, layout = config.word_stride, config.layout_stride
        return {
            "image": image,
            "word_boxes": _some(boxes),
            "word_text": _some(text),
            "word_owner": assign(boxes, view.height // stride, view.width // stride, stride),
            "words_known": np.array(told),
            "region_boxes": _some(region_boxes),
            "region_labels": _some(np.array([known[i][1] for i in kept], np.int64)),
            "region_owner": assign(region_boxes, view.height // layout, view.width // layout, layout),
            "regions_known": np.array(page.regions is not None),
        }

    def _pixels(self, page: Page, rng: np.random.Generator | None) -> np.ndarray:
        """The page as it is, or one of its cached variants."""
        if rng is None or self.cache is None:
            return page.pixels()
        variant = int(rng.integers(self.cache.variants + 1))
        return page.pixels() if variant == self.cache.variants else self.cache.image(page.id, variant)


def _some(rows: np.ndarray) -> np.ndarray:
    """The rows, or one of zeros where there are none, so that every batch has something to index."""
    return rows if len(rows) else np.zeros((1, *rows.shape[1:]), rows.dtype)


def _stack(arrays: list[np.ndarray]) -> np.ndarray:
    """Stack arrays, those of different lengths padded at the end with zeros."""
    if len({a.shape for a in arrays}) == 1:
        return np.stack(arrays)
    length = max(len(a) for a in arrays)
    return np.stack([np.pad(a, [(0, length - len(a)), *[(0, 0)] * (a.ndim - 1)]) for a in arrays])


def _print_height(words: Sequence[Word]) -> float:
    """Median height of words in pixels of their page."""
    return float(np.median([word.box[3] - word.box[1] for word in words]))


def _clogged(image: np.ndarray, letters: float, rng: np.random.Generator) -> np.ndarray:
    """Dark print, `letters` pixels tall, whose openings narrower than a fifth to a third of that are filled.

    Worn type, carbon copies and bad toner leave little of an "e" or a "c" but an "o"; its word tells which it was.
    """
    # In halves of a pixel, and odd: an even disc would move the print.
    width = 2 * int(letters * rng.uniform(0.2, 0.32)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    twice = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    filled = cv2.morphologyEx(twice, cv2.MORPH_OPEN, disc)
    return cv2.resize(filled, image.shape[1::-1], interpolation=cv2.INTER_AREA)


def _erase(image: np.ndarray, rng: np.random.Generator) -> None:
    """Random erasing (Zhong et al. 2020) with patches of 0.1 to 1 % of the page: a stain, not a missing page."""
    height, width = image.shape[:2]
    area, ratio = rng.uniform(0.001, 0.01) * height * width, np.exp(rng.uniform(-1, 1))
    h, w = min(height, int(np.sqrt(area / ratio)) + 1), min(width, int(np.sqrt(area * ratio)) + 1)
    y, x = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    image[y : y + h, x : x + w] = rng.integers(0, 256, 3, dtype=np.uint8)


@dataclass(frozen=True)
class Reading:
    """Some of a batch's words, and what both heads read of them."""

    page: Tensor  # (N,)
    boxes: Tensor  # (N, 4), pixels
    seen: Tensor  # (N, 4), the boxes that the reader is given
    text: Tensor  # (N, L), ids that end with EOS
    columns: Tensor  # (N,), how many of the T columns show the word; the others are blank
    parallel: Tensor  # logits (N, T, symbols)
    serial: Tensor | None  # logits (n, L, symbols) of the first n words; None without a decoder


class TridentSystem(nn.Module):
    """Trident with its losses: layout, word detection, and reading by both heads."""

    selection: tuple[str, Literal["min", "max"]] = ("reading", "min")
    progress = 0.0
    #: Whether the network could read before: it then needs no first alignment.
    started = False
    widths: Tensor  # typical letter widths by id, for the flat start

    def __init__(self, network: Trident, layout_known: bool, shown: Sequence[Page] = ()) -> None:
        super().__init__()
        self.network, self.shown = network, shown
        config = network.config
        #: 0 while no page of the dataset has annotated regions; it returns by itself when one has.
        self.layout_weight = config.layout_weight if layout_known else 0.0
        self.register_buffer("widths", letter_widths(network.charset.symbols), persistent=False)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of one batch; 'total' is their weighted sum."""
        return self.truth(*self.look(batch), batch)

    def look(self, batch: Batch) -> tuple[Features, Reading | None]:
        """What the network says of a batch; None where no word's text is known."""
        # Over sequences as short as a word, torch's fused attention for CPUs is slower than plain products.
        short = sdpa_kernel(SDPBackend.MATH) if batch["image"].device.type == "cpu" else nullcontext()
        with short:
            features = self.network(batch["image"])
            return features, self._read(features, batch)

    def truth(self, features: Features, reading: Reading | None, batch: Batch) -> dict[str, Tensor]:
        """The losses of what was said, as `loss` gives them."""
        config = self.network.config
        zero = features.level.new_zeros((), dtype=torch.float32)
        ones = torch.zeros_like(batch["word_text"][..., 0])
        parts = fcos_loss(
            features.words,
            batch["word_owner"],
            batch["word_boxes"],
            ones,
            batch["words_known"],
            config.word_stride,
            config.even_boxes,
        )
        detection = torch.stack(list(parts.values())).sum()
        layout = zero
        if self.layout_weight and bool(batch["regions_known"].any()):
            layout = torch.stack(
                list(
                    fcos_loss(
                        features.regions,
                        batch["region_owner"],
                        batch["region_boxes"],
                        batch["region_labels"],
                        batch["regions_known"],
                        config.layout_stride,
                        config.even_boxes,
                    ).values()
                )
            ).sum()
        parallel, serial = self._reading_losses(reading) if reading else (zero, zero)
        total = (
            self.layout_weight * layout
            + config.detection_weight * detection
            + config.reading_weight * (parallel + serial)
        )
        return {"total": total, "layout": layout, "detection": detection, "ctc": parallel, "decoder": serial}

    def _read(self, features: Features, batch: Batch) -> Reading | None:
        """Up to `page_words` words a page, the decoder up to `decoder_words` of them a batch."""
        network, config = self.network, self.network.config
        page, slot = self._sample(batch["word_text"], config.page_words * len(batch["image"]))
        boxes = batch["word_boxes"][page, slot]
        seen = _jitter(boxes) if network.training else boxes
        narrow = is_narrow(widened(seen), config.narrow)
        if network.training:
            kept = _few_of(narrow)
            page, slot, boxes, seen, narrow = page[kept], slot[kept], boxes[kept], seen[kept], narrow[kept]
        if len(page) == 0:
            return None
        text, views = batch["word_text"][page, slot], widened(seen)
        columns = torch.where(narrow, config.roi[1] // 2, config.roi[1])
        some = slice(0, config.decoder_words if network.training else None)
        serial = forced(network, features, views[some], page[some], text[some])
        return Reading(page, boxes, seen, text, columns, said(network, features, views, page), serial)

    def _reading_losses(self, reading: Reading) -> tuple[Tensor, Tensor]:
        """CTC loss with its flat start, and the decoder's loss."""
        logits, text = reading.parallel, reading.text
        characters = torch.where(text == EOS, PAD, text)
        parallel = ctc_loss(logits, characters, (characters != PAD).sum(-1))
        parallel = parallel + self._flat_start(reading, characters)
        if reading.serial is None:
            return parallel, torch.zeros_like(parallel)
        told = text[: len(reading.serial)]
        return parallel, decoder_loss(reading.serial, told, self.network.config.smoothing)

    def _flat_start(self, reading: Reading, characters: Tensor) -> Tensor | float:
        """Cross-entropy against letters of typical widths, fading over the first `flat_start` of the training."""
        share = 0.0 if self.started else self.network.config.flat_start
        if not self.network.training or not share or self.progress >= share:
            return 0.0
        logits = reading.parallel
        labels = flat_start(
            characters, reading.boxes, reading.seen, self.widths, reading.columns, logits.shape[1]
        )
        weight = 1 - self.progress / share
        return 3.0 * weight * F.cross_entropy(logits.float().flatten(0, 1), labels.flatten())

    def _sample(self, text: Tensor, most: int) -> tuple[Tensor, Tensor]:
        """Page and slot numbers of the batch's words; shuffled in training, so that a cut is fair."""
        page, slot = (text[..., 0] != PAD).nonzero(as_tuple=True)
        if self.network.training:
            order = torch.randperm(len(page), device=page.device)[:most]
            page, slot = page[order], slot[order]
        return page, slot

    def validate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Mean losses over held-out pages; 'reading' selects the checkpoint."""
        sums: dict[str, float] = {}
        count = 0
        for batch in batches:
            count += 1
            for name, value in self.truth(*self.look(batch), batch).items():
                sums[name] = sums.get(name, 0.0) + float(value)
        means: dict[str, Any] = {name: value / max(1, count) for name, value in sums.items()}
        return {"loss": means.pop("total"), **means, "reading": means["ctc"] + means["decoder"]}

    def release(self) -> Trident:
        """The trained network, without what only its training needed."""
        return self.network

    def pictures(self) -> dict[str, np.ndarray]:
        """The shown pages with what is found on them, uint8 (H, W, 3) RGB."""
        model_card = card(self.network, "", {})
        model_card["thresholds"]["region"] = model_card["thresholds"]["shown"]
        return pictures(graph_for(self.network), model_card, self.shown)


def said(network: Trident, features: Features, views: Tensor, page: Tensor) -> Tensor:
    """The parallel head's logits (N, T, symbols) of views (N, 4); columns that narrow ones lack are surely blank."""
    most, groups = network.config.roi[1], []
    for columns, these in network.columns_for(views):
        some = these.nonzero()[:, 0]
        logits = network.read(features, views[some], page[some], columns)
        blank = F.one_hot(torch.tensor(PAD, device=views.device), logits.shape[-1]).to(logits) * SURELY
        rest = blank.expand(len(some), most - columns, -1)
        groups.append((some, torch.cat([logits, rest], 1)))
    order, whole = (torch.cat(parts) for parts in zip(*groups, strict=True))
    return whole[order.argsort()]


def forced(network: Trident, features: Features, views: Tensor, page: Tensor, text: Tensor) -> Tensor | None:
    """The decoder's logits (n, L, symbols) where it is told all characters before: teacher forcing.

    Of views (n, 4) and texts (n, L) that end with EOS; None without a decoder.
    """
    if network.decoder is None:
        return None
    rois = network.rois(features, views, page, network.config.roi[1])
    starts = torch.cat([torch.full_like(text[:, :1], SOS), text[:, :-1]], 1)
    return network.decoder(network.decoder.remember(rois), starts)


def _few(count: int) -> int:
    """The most of `count` words that makes one of few shapes: 1, 2, 4, 8, 16, 24 or a multiple of 32.

    The CPU library keeps memory for every shape it meets: of all counts, 210 MB more in 400 steps of a tiny Trident.
    """
    return count // 32 * 32 or max((size for size in (1, 2, 4, 8, 16, 24) if size <= count), default=0)


def _few_of(narrow: Tensor) -> Tensor:
    """The first words of those read in half the columns and of the others, each as many as make one of few shapes."""
    groups = [(narrow == half).nonzero()[:, 0] for half in (True, False)]
    return torch.cat([group[: _few(len(group))] for group in groups]).sort().values


def _jitter(boxes: Tensor) -> Tensor:
    """Move each side by up to a quarter of the word's height along the line, an eighth across it.

    The reader will be given found boxes, not true ones.
    """
    height = (boxes[:, 3] - boxes[:, 1]).clamp(min=1)[:, None]
    most = boxes.new_tensor([0.25, 0.12, 0.25, 0.12])
    return boxes + (torch.rand_like(boxes) * 2 - 1) * most * height


def make(params: Params, data: Path, cache: Path | None) -> tuple[TridentSystem, TridentSteps]:
    """The system and its data. The network's first weights are a function of the seed."""
    steps = TridentSteps(data, AugmentationCache(cache) if cache else None, params.trident, params.seed)
    torch.manual_seed(params.seed)
    network = Trident(params.trident).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    known = any(entry.regions is not None for entry in steps.train.entries)
    return TridentSystem(network, known, [steps.val[i] for i in range(min(SHOWN, len(steps.val)))]), steps


def card(network: Trident, data: str, metrics: dict[str, float]) -> Card:
    """The checkpoint's model card."""
    return {
        "name": "trident",
        "model": "trident",
        "version": 1,
        "config": network.config.model_dump(mode="json", exclude={"training", "distill"}),
        "labels": LABELS,
        "charset": network.charset.symbols,
        "preprocess": {"long_edge": network.config.long_edge, "text_px": network.config.text_px},
        "thresholds": {"word": 0.4, "region": 0.05, "shown": 0.3},
        "data": data,
        "metrics": metrics,
    }


def word_threshold(network: Trident, model_card: Card, pages: PageStore, most: int = 16) -> float:
    """The word score at which detection F1 is best on up to `most` held-out pages, within 0.2 and 0.7."""
    processor, runner = processor_for(model_card), TorchRunner(graph_for(network))
    scores: list[np.ndarray] = []
    hits: list[np.ndarray] = []
    truth = 0
    annotated = [i for i, entry in enumerate(pages.entries) if entry.words]
    for page in (pages[i] for i in annotated[:most]):
        inputs, transform = processor.prepare(page.pixels())
        outputs = runner(inputs)
        kept = outputs["word_scores"][0] > 0
        found = transform.to_page(outputs["word_boxes"][0][kept])
        scores.append(outputs["word_scores"][0][kept])
        true_boxes = [word.box for word in page.words or ()]
        hits.append(np.array(match(true_boxes, found.tolist(), scores[-1].tolist())) >= 0)
        truth += len(true_boxes)
    if not scores:
        return float(model_card["thresholds"]["word"])
    return float(np.clip(best_threshold(np.concatenate(scores), np.concatenate(hits), truth), 0.2, 0.7))
