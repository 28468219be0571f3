"""Charsets: which characters a reader knows, and the coding between text and ids."""

from __future__ import annotations

import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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

    def decode_ctc(self, ids: Sequence[int]) -> str:
        """Text of a CTC path: repeats merged, then blanks (`PAD`) dropped (Graves et al. 2006)."""
        return self.decode(i for k, i in enumerate(ids) if i != PAD and (k == 0 or i != ids[k - 1]))

    def outside(self, text: str) -> set[str]:
        """The characters of `text` that this charset lacks."""
        return set(text) - set(self.symbols)


def named(name: str) -> Charset:
    """A charset by name. Raises UsageError that lists the known ones."""
    if name not in NAMED:
        raise UsageError(f"charset '{name}' is not known; choose one of {', '.join(sorted(NAMED))}")
    return Charset(NAMED[name])
