"""Text that looks like what people write: real words, names, amounts, dates, addresses."""

from __future__ import annotations

import datetime
import functools
import math
from dataclasses import dataclass

import numpy as np
from faker import Faker
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
    "erotic", "holocaust",
)  # fmt: skip
_LOCALES = {
    "en": "en_US",
    "de": "de_DE",
    "fr": "fr_FR",
    "es": "es_ES",
    "it": "it_IT",
    "nl": "nl_NL",
    "pt": "pt_PT",
}


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Words of one language and the cumulative share up to each."""

    words: tuple[str, ...]
    cumulative: np.ndarray


@functools.cache
def lexicon(language: str) -> Lexicon:
    """The lexicon of an ISO 639-1 language. Raises UsageError for one without word frequencies."""
    try:
        frequencies = get_frequency_dict(language, wordlist="small")
    except LookupError:
        raise UsageError(
            f"synth.languages: no word frequencies for '{language}'; use ISO 639-1 codes such as en"
        ) from None
    if language == "en":  # no café: English readers' charsets have no accents
        frequencies = {word: share for word, share in frequencies.items() if word.isascii()}
    words = sorted(filter(_fit, frequencies), key=lambda word: (-frequencies[word], word))[:VOCABULARY]
    shares = np.array([frequencies[word] for word in words]) ** FLATTENING
    return Lexicon(tuple(words), np.cumsum(shares / shares.sum()))


def _fit(word: str) -> bool:
    letters = word.replace("'", "").replace("-", "")
    single = len(word) == 1 and word not in {"a", "i", "y", "e", "o"}
    return letters.isalpha() and not single and len(word) <= 16 and not any(stem in word for stem in _UNFIT)


@functools.cache
def _faker(language: str) -> Faker:
    return Faker(_LOCALES.get(language, "en_US"))


class Prose:
    """Draws text. Everything it says is a function of `rng` and `language`."""

    def __init__(self, rng: np.random.Generator, language: str = "en") -> None:
        self.rng = rng
        self.lexicon = lexicon(language)
        self.fake = _faker(language)
        self.fake.seed_instance(int(rng.integers(2**31)))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def pick(self, *choices: str) -> str:
        return choices[int(self.rng.integers(len(choices)))]

    def whole(self, low: int, high: int) -> int:
        """A whole number in [low, high]."""
        return int(self.rng.integers(low, high + 1))

    def words(self, count: int) -> list[str]:
        """Plain words, no word twice in a row."""
        found: list[str] = []
        while len(found) < count:
            draws = np.searchsorted(
                self.lexicon.cumulative, self.rng.random(count - len(found)), side="right"
            )
            for draw in draws:
                word = self.lexicon.words[min(int(draw), len(self.lexicon.words) - 1)]
                if not found or found[-1] != word:
                    found.append("I" if word == "i" else word)
        return found

    def sentence(self, count: int) -> list[str]:
        """About `count` tokens with capitals, commas, quotes, brackets, numbers, and an end mark."""
        tokens = self.words(count)
        for index in range(1, len(tokens)):
            if self.chance(0.07):
                tokens[index] = self.number_like()
            elif self.chance(0.06):
                tokens[index] = tokens[index].capitalize()
            elif self.chance(0.01):
                tokens[index] = tokens[index].upper()
            elif self.chance(0.012):
                tokens[index] = f"{tokens[index]}-{self.words(1)[0]}"
        tokens[0] = tokens[0][:1].upper() + tokens[0][1:]
        for index in range(1, len(tokens) - 1):
            if self.chance(0.07):
                tokens[index] += self.pick(",", ",", ",", ",", ";", ":")
        if count > 6 and self.chance(0.12):
            start = self.whole(1, count - 4)
            stop = start + self.whole(0, 2)
            left, right = ("()", '""', "''", "[]", "“”")[
                int(self.rng.choice(5, p=[0.45, 0.3, 0.1, 0.1, 0.05]))
            ]
            tokens[start], tokens[stop] = left + tokens[start], tokens[stop] + right
        if count > 8 and self.chance(0.06):
            tokens.insert(self.whole(2, count - 3), self.pick("–", "—", "-", "&", "/"))
        tokens[-1] += self.pick(*"......!?:.")
        return tokens

    def text(self, count: int) -> str:
        """Sentences of about `count` words together."""
        tokens: list[str] = []
        while len(tokens) < count:
            left = count - len(tokens)
            length = min(left, max(4, round(float(self.rng.normal(13, 5)))))
            tokens += self.sentence(length if left - length >= 4 else max(left, 3))
        return " ".join(tokens)

    def phrase(self, low: int, high: int) -> str:
        """A heading's words: sentence case, title case or capitals."""
        words = self.words(self.whole(low, high))
        style = self.rng.random()
        if style < 0.45:
            words = [word[:1].upper() + word[1:] for word in words]
        elif style < 0.9:
            words[0] = words[0][:1].upper() + words[0][1:]
        else:
            words = [word.upper() for word in words]
        return " ".join(words)

    def label(self) -> str:
        """A word or two that name a thing: a column, a field."""
        words = self.words(1 if self.chance(0.7) else 2)
        return " ".join([words[0].capitalize(), *words[1:]])

    def number_like(self) -> str:
        """A number as it stands in running text."""
        kind = self.whole(0, 9)
        if kind <= 2:
            return str(self.whole(0, 120))
        if kind == 3:
            return str(self.whole(1850, 2029))
        return (self.amount, self.percent, self.decimal, self.date, self.reference, self.time)[kind - 4]()

    def amount(self) -> str:
        """Money, from cents to millions."""
        value = 10 ** float(self.rng.uniform(0, 5.5))
        body = f"{value:,.2f}" if self.chance(0.75) else f"{math.floor(value):,}"
        sign = self.pick("$", "$", "€", "£", "")
        if not sign:
            return body
        return sign + body if sign != "€" or self.chance(0.6) else body + sign

    def figure(self) -> str:
        """A number as it stands in a table."""
        return self.pick(
            str(self.whole(0, 9999)),
            f"{self.rng.uniform(0, 100):.1f}",
            f"{self.rng.uniform(0, 1000):,.2f}",
            self.percent(),
        )

    def percent(self) -> str:
        return f"{self.whole(0, 100)}%" if self.chance(0.5) else f"{self.rng.uniform(0, 100):.1f}%"

    def decimal(self) -> str:
        return f"{self.rng.uniform(0, 20):.{self.whole(1, 3)}f}"

    def time(self) -> str:
        return f"{self.whole(0, 23):02d}:{self.whole(0, 59):02d}"

    def date(self) -> str:
        """A date in one token."""
        day, month, year = self.whole(1, 28), self.whole(1, 12), self.whole(1950, 2029)
        return self.pick(
            f"{day:02d}/{month:02d}/{year}",
            f"{year}-{month:02d}-{day:02d}",
            f"{day}.{month}.{year}",
            f"{day:02d}-{month:02d}-{year % 100:02d}",
        )

    def long_date(self) -> str:
        # Not Faker's date: that one depends on today.
        day = datetime.date(self.whole(1950, 2029), self.whole(1, 12), self.whole(1, 28))
        return self.pick(
            f"{day:%B} {day.day}, {day.year}",
            f"{day.day} {day:%B} {day.year}",
            f"{day:%a}, {day.day} {day:%b} {day.year}",
            self.date(),
        )

    def reference(self) -> str:
        """A document or part number."""
        letters = "".join(chr(65 + int(n)) for n in self.rng.integers(26, size=self.whole(1, 3)))
        return self.pick(
            f"{letters}-{self.whole(100, 99999)}",
            f"#{self.whole(1000, 999999)}",
            f"{letters}{self.whole(1, 999)}",
            f"{self.whole(10, 99)}/{letters}",
            f"§{self.whole(1, 40)}",
            f"{self.whole(1, 9)}.{self.whole(1, 9)}.{self.whole(0, 20)}",
        )

    def name(self) -> str:
        name = self.fake.name()
        return name if self.chance(0.6) else f"{name[0]}. {name.split()[-1]}"

    def company(self) -> str:
        return self.fake.company()

    def email(self) -> str:
        return self.fake.email()

    def phone(self) -> str:
        return self.pick(
            f"+{self.whole(1, 99)} {self.whole(100, 999)} {self.whole(1000000, 9999999)}",
            f"({self.whole(200, 999)}) {self.whole(200, 999)}-{self.whole(1000, 9999)}",
            f"{self.whole(100, 999)}-{self.whole(100, 999)}-{self.whole(1000, 9999)}",
        )

    def address(self) -> list[str]:
        """Street, and town with its code."""
        return [self.fake.street_address().replace("\n", " "), f"{self.fake.city()}, {self.fake.postcode()}"]

    def website(self) -> str:
        return (
            self.pick("www.", "https://")
            + self.fake.domain_name()
            + self.pick("", "", f"/{self.words(1)[0].replace(chr(39), '')}")
        )
