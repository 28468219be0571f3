"""Charsets: which characters a reader knows, and the coding between text and ids."""

from __future__ import annotations

import string
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ml.errors import UsageError

PAD, SOS, EOS, UNK = range(4)
#: Ids below this are markers. The parallel head uses PAD as its CTC blank.
MARKERS = 4

_ENGLISH = string.digits + string.ascii_letters + string.punctuation + "£€$°§©–—“”‘’•…"
_LATIN = (
    _ENGLISH
    + "àáâãäåæçèéêëìíîïñòóôõöøœùúûüýÿßąćęłńśźżčďěňřšťůžăâîșțğışőű"
    + "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØŒÙÚÛÜÝŸĄĆĘŁŃŚŹŻČĎĚŇŘŠŤŮŽĂȘȚĞİŞŐŰ¡¿«»„"
    + "¹²³ªº±×÷½¼¾µ·¢¥™®†‡‹›‚"
)
NAMED = {"english": _ENGLISH, "latin": _LATIN}


@dataclass(frozen=True)
class Charset:
    """An ordered set of symbols. Id of a symbol = its position + `MARKERS`."""

    symbols: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "symbols", "".join(dict.fromkeys(self.symbols)))
        object.__setattr__(self, "_ids", {symbol: i + MARKERS for i, symbol in enumerate(self.symbols)})

    def __len__(self) -> int:
        return len(self.symbols) + MARKERS

    def encode(self, text: str) -> list[int]:
        """Ids of the characters, `UNK` for those outside the charset."""
        return [self._ids.get(character, UNK) for character in text]  # type: ignore[attr-defined]

    def decode(self, ids: Iterable[int]) -> str:
        """Text up to the first `EOS`; pads and starts are skipped, unknowns become U+FFFD."""
        text = []
        for i in ids:
            if i == EOS:
                break
            if i >= MARKERS:
                text.append(self.symbols[i - MARKERS])
            elif i == UNK:
                text.append("\ufffd")
        return "".join(text)

    def decode_ctc(self, paths: np.ndarray) -> list[str]:
        """Texts of CTC paths (N, T): repeats merged, then blanks (`PAD`) dropped (Graves et al. 2006)."""
        before = np.pad(paths, ((0, 0), (1, 0)), constant_values=PAD)[:, :-1]
        kept = (paths != PAD) & (paths != before)
        return [self.decode(path[keep].tolist()) for path, keep in zip(paths, kept, strict=True)]

    def outside(self, text: str) -> set[str]:
        """The characters of `text` that this charset lacks."""
        return set(text) - set(self.symbols)


def named(name: str) -> Charset:
    """A charset by name. Raises UsageError that lists the known ones."""
    if name not in NAMED:
        raise UsageError(f"charset '{name}' is not known; choose one of {', '.join(sorted(NAMED))}")
    return Charset(NAMED[name])
