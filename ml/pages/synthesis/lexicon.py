"""Words of a language with the frequencies that they have in print, and the words that hold rare characters."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from wordfreq import get_frequency_dict

from ml.errors import UsageError

#: Words of a language that are drawn from, most frequent first.
VOCABULARY = 12_000
#: Frequencies are raised to this power: at 1 the twenty commonest words make up half of a page, and a reader
#: learns those twenty; at 0 no page looks like language.
FLATTENING = 0.75
#: Words with these stems are not set on pages that people show each other.
_UNFIT = (
    "fuck", "shit", "cunt", "nigg", "porn", "whore", "slut", "bitch", "rape", "nazi", "fag", "penis", "dick",
    "sex", "piss", "jew", "suicid", "kill", "murder", "terror", "negro", "bastard", "naked", "nude",
    "erotic", "holocaust", "merde", "putain", "scheiß", "scheiss", "hure", "puta", "mierda", "cazzo", "troia",
    "stronz", "kut", "neuken", "caralho", "foda", "porra",
)  # fmt: skip
#: Whose words may stand in for a character that the page's own language does not write.
_LENDERS = ("fr", "de", "es", "pt", "it", "nl", "pl", "cs", "sv", "tr", "ro", "hu", "fi", "nb", "ca", "en")


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Words of one language and the cumulative share up to each."""

    words: tuple[str, ...]
    cumulative: np.ndarray


@functools.cache
def lexicon(language: str) -> Lexicon:
    """The lexicon of an ISO 639-1 language. Raises UsageError for one without word frequencies."""
    frequencies = _frequencies(language)
    if language == "en":  # no café: English readers' charsets have no accents
        frequencies = {word: share for word, share in frequencies.items() if word.isascii()}
    words = sorted(filter(_fit, frequencies), key=lambda word: (-frequencies[word], word))[:VOCABULARY]
    shares = np.array([frequencies[word] for word in words]) ** FLATTENING
    return Lexicon(tuple(words), np.cumsum(shares / shares.sum()))


def _frequencies(language: str) -> dict[str, float]:
    try:
        return get_frequency_dict(language, wordlist="small")
    except LookupError:
        raise UsageError(
            f"synth.languages: no word frequencies for '{language}'; use ISO 639-1 codes such as en"
        ) from None


def _fit(word: str) -> bool:
    letters = word.replace("'", "").replace("-", "")
    single = len(word) == 1 and word not in {"a", "i", "y", "e", "o"}
    return letters.isalpha() and not single and len(word) <= 16 and not any(stem in word for stem in _UNFIT)


@functools.cache
def words_with(letter: str) -> tuple[str, ...]:
    """Up to 40 common words with a lower-case letter, of the first languages that write it; () for none."""
    found: list[str] = []
    for language in _LENDERS:
        found += [word for word in _lent(language).get(letter, ()) if word not in found]
        if len(found) >= 12:
            break
    return tuple(found[:40])


@functools.cache
def _lent(language: str) -> dict[str, list[str]]:
    """Common words of a language by the letters beyond ASCII in them."""
    frequencies = _frequencies(language)
    by_letter: dict[str, list[str]] = {}
    for word in sorted(frequencies, key=lambda word: (-frequencies[word], word))[:VOCABULARY]:
        if not word.isascii() and _fit(word):
            for letter in set(word):
                if not letter.isascii() and len(by_letter.setdefault(letter, [])) < 40:
                    by_letter[letter].append(word)
    return by_letter
