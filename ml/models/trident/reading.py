"""Reading a word from its features: a parallel head (CTC) and an autoregressive decoder, trained together."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align

from ml.models.charset import EOS, MARKERS, PAD, SOS
from ml.models.trident.fcos import groups_of

#: A word's features are taken from its ink box widened by this share of its height on every side.
MARGIN = 0.25
#: A view wider than this many times its height is read in overlapping windows; about 10 letters fit in one. Wider
#: ones leave an "ill" fewer columns than CTC needs.
WINDOW_ASPECT = 4.5
WINDOWS = 16


def widened(boxes: Tensor) -> Tensor:
    """Boxes (..., 4) grown by `MARGIN` of their height on every side."""
    margin = MARGIN * (boxes[..., 3] - boxes[..., 1]).clamp(min=0)
    return boxes + torch.stack([-margin, -margin, margin, margin], -1)


def is_narrow(views: Tensor, most: float) -> Tensor:
    """Which of views (..., 4) are at most `most` times as wide as tall, none where it is 0: bool (...)."""
    return (most > 0) & (views[..., 2] - views[..., 0] <= most * (views[..., 3] - views[..., 1]))


def word_features(level: Tensor, views: Tensor, page: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    """RoIAlign: features (N, C, *size) of views (N, 4) in pixels, each on page `page` (N,) of level (B, C, h, w)."""
    # In float32: bfloat16 would round the views by pixels.
    take = _looked_up if level.requires_grad else aligned
    return take(level.float(), views.float(), page, size, stride)


def aligned(level: Tensor, views: Tensor, page: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    """`word_features` as torchvision computes them, which graphs are exported with; all in float32."""
    rois = torch.cat([page[:, None].float(), views], 1)
    return roi_align(level, rois, size, spatial_scale=1 / stride, sampling_ratio=1, aligned=True)


def _looked_up(level: Tensor, views: Tensor, page: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    """RoIAlign as torchvision has it, by sums of looked-up rows, whose gradient is many times cheaper on CPUs."""
    height, width = level.shape[2:]
    y, y_share = _neighbours(views[:, 1], views[:, 3], size[0], height, stride)
    x, x_share = _neighbours(views[:, 0], views[:, 2], size[1], width, stride)
    y = y + page[:, None, None] * height
    place = y[:, :, None, :, None] * width + x[:, None, :, None, :]  # (N, *size, 2, 2)
    share = y_share[:, :, None, :, None] * x_share[:, None, :, None, :]
    rows = level.permute(0, 2, 3, 1).flatten(0, 2)
    taken = F.embedding_bag(place.view(-1, 4), rows, per_sample_weights=share.view(-1, 4), mode="sum")
    return taken.unflatten(0, (len(views), *size)).permute(0, 3, 1, 2)


def _neighbours(first: Tensor, last: Tensor, count: int, length: int, stride: int) -> tuple[Tensor, Tensor]:
    """The two cells of `length` around each of `count` even steps from `first` to `last` (N,) pixels, and their shares.

    Both (N, count, 2). A step more than a cell outside has no share.
    """
    middle = (torch.arange(count, device=first.device) + 0.5) / count
    at = (first[:, None] + (last - first)[:, None] * middle) / stride - 0.5
    inside = (at >= -1) & (at <= length)
    at = at.clamp(0, length - 1)
    low = at.floor()
    cells = torch.stack([low, (low + 1).clamp(max=length - 1)], -1)
    return cells.long(), torch.stack([1 - (at - low), at - low], -1) * inside[..., None]


def windows(views: Tensor) -> tuple[Tensor, Tensor]:
    """Long views (..., 4) cut into windows that overlap by half: (..., WINDOWS, 4), and how many each has (...,).

    A view has the fewest equal windows whose width is at most `WINDOW_ASPECT` times its height, as far as `WINDOWS`
    allow: a word has one, a line of text several.
    """
    width, height = views[..., 2] - views[..., 0], (views[..., 3] - views[..., 1]).clamp(min=1e-3)
    count = (2 * width / (WINDOW_ASPECT * height) - 1).ceil().clamp(1, WINDOWS)
    step = width / (count + 1)
    left = views[..., :1] + step[..., None] * torch.arange(WINDOWS, device=views.device)
    right = torch.where(count == 1, width, 2 * step)[..., None] + left
    top, bottom = (views[..., i : i + 1].expand_as(left) for i in (1, 3))
    return torch.stack([left, top, right, bottom], -1), count.long()


def columns_kept(window: Tensor, count: Tensor, columns: int) -> tuple[Tensor, Tensor]:
    """Where the columns of window number `window` (M,) of `count` (M,) go in the path of the whole view.

    Positions (M, columns), and whether each is taken (M, columns): of two windows, the one in whose middle it lies
    says what a column shows.
    """
    column = torch.arange(columns, device=window.device)
    quarter = columns // 4
    first, last = (window == 0)[:, None], (window == count - 1)[:, None]
    taken = (first | (column >= quarter)) & (last | (column < columns - quarter))
    return column + window[:, None] * (columns // 2), taken


def path_length(columns: int) -> int:
    """Columns of the longest path: `WINDOWS` windows that overlap by half."""
    return columns + (WINDOWS - 1) * (columns // 2)


def sinusoid(length: int, width: int) -> Tensor:
    """Sinusoidal positions (length, width) (Vaswani et al. 2017)."""
    angle = torch.arange(length)[:, None] * torch.exp(
        torch.arange(0, width, 2) * (-math.log(10000.0) / width)
    )
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)


class Detail(nn.Module):
    """What a map of twice the resolution adds to a word's features: thin strokes that the words' level is too coarse for.

    It adds nothing before it is trained, so a network that is given it goes on reading as it did.
    """

    def __init__(self, inputs: int, width: int, channels: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(inputs, width, 1)
        self.halve = nn.Conv2d(width, channels, 3, stride=2, padding=1)
        self.join = nn.Conv2d(channels, channels, 1)
        for parameter in self.join.parameters():
            nn.init.zeros_(parameter)

    def map(self, fine: Tensor) -> Tensor:
        """The map (B, width, 2h, 2w) that words are cut from, of the backbone's (B, inputs, 2h, 2w)."""
        return F.relu(self.enter(fine))

    def forward(self, cut: Tensor) -> Tensor:
        """What is added to words' features (N, channels, h, w), of what was cut from the map (N, width, 2h, 2w)."""
        return self.join(F.relu(self.halve(cut)))


class EncoderLayer(nn.TransformerEncoderLayer):
    """torch's pre-norm layer with its parameters; words stay in front all the way, where torch turns every tensor twice."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Columns x (N, L, width), each seeing all of its word."""
        own = self.self_attn
        projected = F.linear(self.norm1(x), own.in_proj_weight, own.in_proj_bias)
        query, key, value = projected.unflatten(-1, (3, own.num_heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = own.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        x = x + self.dropout1(own.out_proj(seen.transpose(1, 2).flatten(2)))
        return x + self.dropout2(self.linear2(self.dropout(F.relu(self.linear1(self.norm2(x))))))


class ParallelReader(nn.Module):
    """All characters at once: convolutions pool the height away, an encoder looks along the columns, CTC aligns."""

    position: Tensor

    def __init__(
        self, channels: int, height: int, width: int, layers: int, symbols: int, columns: int, dropout: float
    ) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, width, 1)
        pools = int(math.log2(height)) - 1  # down to two rows, which are then laid side by side
        self.pool = nn.Sequential(
            *(
                layer
                for _ in range(pools)
                for layer in (
                    nn.Conv2d(width, width, 3, stride=(2, 1), padding=1, bias=False),
                    nn.GroupNorm(groups_of(width), width),
                    nn.ReLU(),
                )
            )
        )
        self.join = nn.Linear(width * (height >> pools), width)
        self.register_buffer("position", sinusoid(columns, width), persistent=False)
        self.encoder = nn.ModuleList(
            EncoderLayer(width, max(1, width // 32), 2 * width, dropout, batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.symbols = nn.Linear(width, symbols)

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, C, height, columns), of any number of columns up to its own, to logits (N, columns, symbols)."""
        x = self.pool(F.relu(self.enter(features)))
        x = self.join(x.flatten(1, 2).transpose(1, 2))
        x = x + self.position[: x.shape[1]]
        for layer in self.encoder:
            x = layer(x)
        return self.symbols(self.norm(x))


KeysValues = tuple[Tensor, Tensor]  # each (N, heads, positions, width of a head)


class DecoderLayer(nn.Module):
    """Pre-norm transformer decoder layer (Vaswani et al. 2017) whose keys and values can be kept between steps."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm_self, self.norm_cross, self.norm_feed = (nn.LayerNorm(width) for _ in range(3))
        self.self_in, self.self_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.cross_query, self.cross_out = nn.Linear(width, width), nn.Linear(width, width)
        self.cross_memory = nn.Linear(width, 2 * width)
        self.feed = nn.Sequential(
            nn.Linear(width, 4 * width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.drop = nn.Dropout(dropout)

    def remember(self, memory: Tensor) -> KeysValues:
        """Keys and values of the memory (N, S, width): the same for every step."""
        keys, values = self.cross_memory(memory).chunk(2, -1)
        return self._heads(keys), self._heads(values)

    def forward(
        self, x: Tensor, memory: KeysValues, past: KeysValues | None = None
    ) -> tuple[Tensor, KeysValues]:
        """Characters x (N, L, width), each seeing `past` and those before it: what they become, and their keys and values."""
        query, key, value = (self._heads(part) for part in self.self_in(self.norm_self(x)).chunk(3, -1))
        if past is not None:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        x = x + self.drop(self.self_out(self._attend(query, key, value, causal=past is None)))
        query = self._heads(self.cross_query(self.norm_cross(x)))
        x = x + self.drop(self.cross_out(self._attend(query, *memory)))
        return x + self.drop(self.feed(self.norm_feed(x))), (key, value)

    def _heads(self, x: Tensor) -> Tensor:
        """(N, L, width) to (N, heads, L, width / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, causal: bool = False) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=causal)
        return seen.transpose(1, 2).flatten(2)


class Decoder(nn.Module):
    """Character after character: a causal transformer decoder over the word's features."""

    memory_position: Tensor
    position: Tensor

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        width: int,
        layers: int,
        symbols: int,
        length: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.length = length
        self.enter = nn.Conv2d(channels, width, 1)
        self.register_buffer("memory_position", sinusoid(size[0] * size[1], width), persistent=False)
        self.register_buffer("position", sinusoid(length, width), persistent=False)
        self.embed = nn.Embedding(symbols, width)
        self.layers = nn.ModuleList(DecoderLayer(width, max(1, width // 32), dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.symbols = nn.Linear(width, symbols)

    def remember(self, features: Tensor) -> list[KeysValues]:
        """What the characters attend to, a pair a layer, of features (N, C, h, w)."""
        memory = self.enter(features).flatten(2).transpose(1, 2) + self.memory_position
        return [layer.remember(memory) for layer in self.layers]  # type: ignore[operator]

    def forward(self, memory: list[KeysValues], ids: Tensor) -> Tensor:
        """Logits (N, L, symbols) of the character after each of `ids` (N, L), which begin with `SOS`."""
        return self.step(memory, ids, [])[0]

    def step(
        self, memory: list[KeysValues], ids: Tensor, past: list[KeysValues]
    ) -> tuple[Tensor, list[KeysValues]]:
        """Logits (N, L, symbols) after `ids` (N, L), which follow the `past` of earlier steps ([]: none).

        With a past, L is 1: each step then costs the same whatever came before, but for its attention.
        """
        begin = past[0][0].shape[2] if past else 0
        x = self.embed(ids) * math.sqrt(self.embed.embedding_dim)
        x = x + self.position[begin : begin + ids.shape[1]]
        kept: list[KeysValues] = []
        for i, layer in enumerate(self.layers):
            x, own = layer(x, memory[i], past[i] if past else None)
            kept.append(own)
        return self.symbols(self.norm(x)), kept

    @torch.no_grad()
    def beam(self, memory: list[KeysValues], width: int, length_bonus: float = 0.0) -> Tensor:
        """Beam search: ids (N, <= length) of the best of `width` hypotheses, without `SOS`, padded after `EOS`.

        Width 1 is greedy decoding. `length_bonus` is added to a hypothesis' log-probability per character.
        """
        n, device = len(memory[0][0]), memory[0][0].device
        memory = [(k.repeat_interleave(width, 0), v.repeat_interleave(width, 0)) for k, v in memory]
        ids = torch.full((n * width, 1), SOS, device=device)
        score = torch.full((n, width), -torch.inf, device=device)
        score[:, 0] = 0.0
        ended = torch.zeros(n * width, dtype=torch.bool, device=device)
        past: list[KeysValues] = []
        for _ in range(self.length - 1):
            logits, past = self.step(memory, ids[:, -1:], past)
            step = logits[:, -1].float().log_softmax(-1) + length_bonus
            symbols = step.shape[-1]
            step[ended] = -torch.inf  # an ended hypothesis goes on with PAD, at no cost
            step[ended, PAD] = 0.0
            score, choice = (score[..., None] + step.view(n, width, symbols)).flatten(1).topk(width, dim=1)
            parent = (choice // symbols + torch.arange(n, device=device)[:, None] * width).flatten()
            ids = torch.cat([ids[parent], (choice % symbols).flatten()[:, None]], 1)
            ended = ended[parent] | (ids[:, -1] == EOS)
            if ended.all():
                break
            if width > 1:
                past = [(k[parent], v[parent]) for k, v in past]
        return ids.view(n, width, -1)[:, 0, 1:]


def ctc_loss(logits: Tensor, targets: Tensor, lengths: Tensor) -> Tensor:
    """Mean CTC loss a character. logits (N, T, symbols); targets (N, L) padded with `PAD`; lengths (N,)."""
    n, columns = logits.shape[:2]
    losses = F.ctc_loss(
        logits.float().log_softmax(-1).transpose(0, 1),
        targets,
        torch.full((n,), columns, dtype=torch.long),
        lengths,
        blank=PAD,
        reduction="none",
        zero_infinity=True,  # a word longer than its columns allow teaches nothing
    )
    return (losses / lengths.clamp(min=1)).mean()


#: Widths of letters in a common sans serif, in widths of "n"; what is not listed is 1, capitals are 1.25.
_WIDTHS = {
    c: w
    for w, cs in {0.45: "ijl.,;:'!|`", 0.65: 'ftr()[]{}/\\-"I1°', 1.5: "mw@%—…", 1.6: "MW"}.items()
    for c in cs
}


def letter_widths(symbols: str) -> Tensor:
    """Typical width of each id of a charset, markers 0: (len(symbols) + MARKERS,)."""
    widths = [_WIDTHS.get(c, 1.25 if c.isupper() else 1.0) for c in symbols]
    return torch.tensor([0.0] * MARKERS + widths)


def flat_start(
    text: Tensor, boxes: Tensor, seen: Tensor, widths: Tensor, columns: Tensor, length: int
) -> Tensor:
    """A guess of which character each column shows: ids (N, length), `PAD` (the blank) between characters.

    CTC alone spends its first thousands of words on predicting blanks. Letters of typical widths laid side by side
    over the word's box are a good enough first alignment, as in flat-started speech models (Young et al., HTK Book).
    text (N, L) ids padded with `PAD`; boxes (N, 4) true boxes of the words; seen (N, 4) the boxes whose widened
    features are divided into `columns` (N,), at most `length`, those beyond are blank; widths by id.
    """
    view = widened(seen)
    column = ((view[:, 2] - view[:, 0]) / columns)[:, None]  # pixels
    x = view[:, :1] + (torch.arange(length, device=text.device) + 0.5) * column
    ends = widths[text].cumsum(1)  # (N, L)
    total = ends[:, -1:].clamp(min=1e-6)
    whole = (boxes[:, 2:3] - boxes[:, :1]).clamp(min=1e-6)
    place = (x - boxes[:, :1]) / whole  # 0..1 inside the word
    index = torch.searchsorted((ends / total).contiguous(), place.contiguous()).clamp(max=text.shape[1] - 1)
    width = (widths[text] / total).gather(1, index).clamp(min=1e-6)
    off = (
        place - (ends / total).gather(1, index) + width / 2
    ).abs() / width  # 0 in a letter's middle, 1/2 at its edge
    # A letter narrower than a column keeps the column whose middle it holds.
    inside = off < torch.clamp(0.5 * column / (width * whole), min=0.3)
    return torch.where(inside & (place > 0) & (place < 1), text.gather(1, index), PAD)


def decoder_loss(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy with label smoothing; pads are ignored. logits (N, L, symbols), targets (N, L)."""
    return F.cross_entropy(
        logits.float().flatten(0, 1), targets.flatten(), ignore_index=PAD, label_smoothing=smoothing
    )
