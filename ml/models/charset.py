"""Charsets: which characters a reader knows, and the coding between text and ids."""

from __future__ import annotations

import string
import unicodedata
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
#: What the languages add to English: small letters; their capitals come by themselves, then signs.
_LANGUAGES = {
    "croatian": ("čćđšž", "„»«"),
    "czech": ("áčďéěíňóřšťúůýž", "„"),
    "danish": ("åæøéü", "»«"),
    "dutch": ("áéíóúàèëïöüĳ", "„"),
    "estonian": ("äõöüšž", "„"),
    "finnish": ("äåöšž", "»"),
    "french": ("àâæçèéêëîïôœùûüÿ", "«»"),
    "german": ("äöüß", "„‚»«"),
    "hungarian": ("áéíóöőúüű", "„»«"),
    "italian": ("àèéìíîòóùú", "«»ªº"),
    "latvian": ("āčēģīķļņšūž", "„«»"),
    "lithuanian": ("ąčęėįšųūž", "„"),
    "norwegian": ("åæøéèêóòâôü", "«»"),
    "polish": ("ąćęłńóśźż", "„«»"),
    "portuguese": ("áâãàçéêíóôõúü", "«»ªº"),
    "romanian": ("ăâîșțşţ", "„«»"),
    "slovak": ("áäčďéíĺľňóôŕšťúýž", "„"),
    "slovenian": ("čšž", "„»«"),
    "spanish": ("áéíñóúü", "¡¿«»ªº"),
    "swedish": ("åäöéü", "»"),
    "turkish": ("âçğıîöşüû", "İ"),
}
_CAPITALS = {"ı": "I", "ß": "ẞ", "ĳ": "Ĳ"}


def _language(small: str, signs: str) -> str:
    letters = unicodedata.normalize("NFC", small)
    return _ENGLISH + letters + "".join(_CAPITALS.get(c, c.upper()) for c in letters) + signs


#: Every letter of Unicode's Latin-1 Supplement and Latin Extended-A, and the comma letters of Romanian.
_EXTENDED = "".join(c for c in map(chr, range(0xC0, 0x180)) if unicodedata.category(c)[0] == "L") + "ȘșȚțẞ"
NAMED = {"english": _ENGLISH, "latin": _LATIN, "latin_extended": _LATIN + _EXTENDED}
NAMED |= {name: _language(*letters) for name, letters in _LANGUAGES.items()}


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
    """A charset by name, or several joined by "+". Raises UsageError that lists the known ones."""
    names = name.split("+")
    unknown = [part for part in names if part not in NAMED]
    if unknown:
        raise UsageError(
            f"charset '{unknown[0]}' is not known; choose of {', '.join(sorted(NAMED))}, or join some by '+'"
        )
    return Charset("".join(NAMED[part] for part in names))
