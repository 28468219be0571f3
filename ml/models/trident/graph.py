"""Trident as one graph from page to words, regions and texts: what is exported and served."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ml.models.charset import PAD
from ml.models.trident.fcos import decode
from ml.models.trident.network import Features, Trident
from ml.models.trident.reading import WINDOWS, columns_kept, path_length, widened, windows

#: Peaks compared, words kept and regions kept on a page. A dense letter page has about 600 words, a newspaper's 1000.
CANDIDATES, WORDS = 1600, 1024
REGION_CANDIDATES, REGIONS = 64, 48
WORD_OVERLAP, REGION_OVERLAP = 0.4, 0.5
#: Words below this score are not read. Thresholds for people are in the card, and higher.
FLOOR = 0.2


class TridentGraph(nn.Module):
    """Boxes, scores and CTC paths as arrays of fixed width; a score of 0 marks an empty slot."""

    input_names = ("image", "boxes")
    output_names = (
        "word_boxes",
        "word_scores",
        "word_text",
        "word_confidence",
        "given_text",
        "given_confidence",
        "region_boxes",
        "region_scores",
        "region_labels",
    )

    def __init__(self, network: Trident) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, boxes: Tensor) -> tuple[Tensor, ...]:
        """Pages uint8 (B, H, W, 3) and boxes to read (B, Q, 4), in pixels; Q >= 1, an empty box reads nothing."""
        network, config = self.network, self.network.config
        features: Features = network(image)
        found, scores, _ = decode(
            features.words, config.word_stride, CANDIDATES, WORDS, WORD_OVERLAP, words=True
        )
        scores = torch.where(scores > FLOOR, scores, 0.0)
        regions, region_scores, labels = decode(
            features.regions, config.layout_stride, REGION_CANDIDATES, REGIONS, REGION_OVERLAP
        )
        every = torch.cat([found, boxes], 1)  # (B, WORDS + Q, 4)
        real = torch.cat([scores > 0, (boxes[..., 2:] > boxes[..., :2]).all(-1)], 1)
        text, confidence = self._read(features, every, real)
        return (
            found,
            scores,
            text[:, :WORDS],
            confidence[:, :WORDS],
            text[:, WORDS:],
            confidence[:, WORDS:],
            regions,
            region_scores,
            labels,
        )

    def _read(self, features: Features, boxes: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """CTC paths (B, N, P) and confidences (B, N) of the boxes marked real; the others cost nothing.

        Long boxes are read in windows, whose columns are put together to one path.
        """
        views, count = windows(widened(boxes))
        asked = torch.arange(WINDOWS, device=boxes.device) < count[..., None]
        length = path_length(self.network.config.roi[1])
        shape = (*boxes.shape[:2], length + 1)  # one column too many takes what is not kept
        text, sure = torch.full(shape, PAD, dtype=torch.int16), torch.ones(shape)
        for columns, these in self.network.columns_for(views):
            chosen = asked & these & real[..., None]
            # The first of all windows beside them: no runtime is then handed a batch of no words at all.
            index = F.pad(chosen.nonzero(), (0, 0, 0, 1))  # (M, 3): page, slot, window
            page, slot, window = index[:, 0], index[:, 1], index[:, 2]
            logits = self.network.read(features, views[page, slot, window], page, columns)
            probability, path = logits.float().softmax(-1).max(-1)  # (M, columns)
            place, taken = columns_kept(window, count[page, slot], columns)
            taken = taken & chosen[page, slot, window][:, None]
            where = (page[:, None], slot[:, None], torch.where(taken, place, length))
            text = text.index_put(where, path.to(torch.int16))
            sure = sure.index_put(where, probability)
        text, sure = text[..., :length], sure[..., :length]
        # The weakest column decides: one wrong character makes a word wrong.
        return text, torch.where(real, sure.amin(-1), 0.0)


def graph_for(network: Trident) -> TridentGraph:
    """The network as an exportable graph, in evaluation mode."""
    return TridentGraph(network).eval()
