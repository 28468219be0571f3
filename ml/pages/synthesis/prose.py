"""Text that looks like what people write: real words, names, amounts, dates, addresses."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import numpy as np
from faker import Faker

from ml.pages.synthesis.lexicon import lexicon, words_with
from ml.pages.synthesis.terms import term
from ml.pages.synthesis.tokens import Tokens

_LOCALES = {
    "en": "en_US",
    "de": "de_DE",
    "fr": "fr_FR",
    "es": "es_ES",
    "it": "it_IT",
    "nl": "nl_NL",
    "pt": "pt_PT",
}
_BRACKETS = {"en": "“”", "de": "„“", "fr": "«»", "es": "«»", "it": "«»", "nl": "“”", "pt": "«»"}


@functools.cache
def _faker(language: str) -> Faker:
    return Faker(_LOCALES.get(language, "en_US"))


@functools.cache
def _towns(language: str) -> tuple[str, ...]:
    """Faker's list of a country's towns, where it has one: in order, because some are sets, which have none."""
    providers = _faker(language).get_providers()
    address = next(part for part in providers if ".address." in type(part).__module__)
    return tuple(sorted(getattr(address, "cities", ())))


class Prose(Tokens):
    """Draws text. Everything it says is a function of `rng`, `language` and the characters that are `due`.

    `due` holds characters that the page must show; sentences use them up. `shown` keeps them all.
    """

    def __init__(self, rng: np.random.Generator, language: str = "en", due: Iterable[str] = ()) -> None:
        super().__init__(rng, language)
        self.lexicon = lexicon(language)
        self.fake = _faker(language)
        self.fake.seed_instance(int(rng.integers(2**31)))
        self.shown = tuple(due)
        self.due = list(self.shown)

    def term(self, name: str) -> str:
        """A paper's fixed word in this language."""
        return term(name, self.language)

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
                    found.append("I" if word == "i" and self.language == "en" else word)
        return found

    def sentence(self, count: int) -> list[str]:
        """About `count` tokens with capitals, commas, quotes, brackets, numbers, and an end mark."""
        tokens = self.words(count)
        draws = self.rng.random(len(tokens))
        for index in range(1, len(tokens)):
            draw = draws[index]
            if draw < 0.07:
                tokens[index] = self.number_like()
            elif draw < 0.13:
                tokens[index] = tokens[index].capitalize()
            elif draw < 0.14:
                tokens[index] = tokens[index].upper()
            elif draw < 0.152:
                tokens[index] = f"{tokens[index]}-{self.words(1)[0]}"
            elif draw < 0.165:
                tokens[index] = self.wrapped(tokens[index])
        tokens[0] = tokens[0][:1].upper() + tokens[0][1:]
        for index in np.flatnonzero(self.rng.random(len(tokens))[1:-1] < 0.07) + 1:
            tokens[index] += self.pick(",", ",", ",", ",", ";", ":")
        if count > 6 and self.chance(0.12):
            start = self.whole(1, count - 4)
            stop = start + self.whole(0, 2)
            quotes = _BRACKETS.get(self.language, "“”")
            left, right = ("()", '""', "''", "[]", quotes)[
                int(self.rng.choice(5, p=[0.45, 0.25, 0.1, 0.1, 0.1]))
            ]
            tokens[start], tokens[stop] = left + tokens[start], tokens[stop] + right
        if count > 8 and self.chance(0.06):
            tokens.insert(self.whole(2, count - 3), self.pick("–", "—", "-", "&", "/"))
        tokens[-1] += self.pick(*"......!?:.")
        if self.due:
            tokens.insert(self.whole(1, len(tokens) - 1), self.rare(self.due.pop()))
        return tokens

    def wrapped(self, word: str) -> str:
        """A word in brackets or quotes of its own, or two that a sign joins."""
        left, right = self.pick("()", "()", "[]", "{}", "<>", '""', "''", "//", "**")
        if self.chance(0.7):
            return left + word + right + self.pick("", "", "", ",", ".")
        return word + self.pick("/", "/", "&", "+", "=", "_", "|") + self.words(1)[0]

    def rare(self, character: str) -> str:
        """A token that shows `character` where print would have it."""
        if character.isalpha():
            lower = character.lower()
            words = words_with(lower) if len(lower) == 1 else ()
            if not words or (len(lower.upper()) > 1 and character != lower):
                return character + self.words(1)[0]
            word = self.pick(*words)
            if character == lower:
                return word
            return word.upper() if self.chance(0.4) or word[0] != lower else character + word[1:]
        if character.isdigit():
            return str(self.whole(1, 99)) + character
        word = self.words(1)[0]
        return self.pick(character + str(self.whole(1, 99)), word + character, character + word)

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

    def name(self) -> str:
        name = self.fake.name()
        return name if self.chance(0.6) else f"{name[0]}. {name.split()[-1]}"

    def company(self) -> str:
        return self.fake.company()

    def email(self) -> str:
        return self.fake.email()

    def address(self) -> list[str]:
        """Street, and town with its code."""
        towns = _towns(self.language)
        town = self.pick(*towns) if towns else self.fake.city()
        return [self.fake.street_address().replace("\n", " "), f"{town}, {self.fake.postcode()}"]

    def website(self) -> str:
        return (
            self.pick("www.", "https://")
            + self.fake.domain_name()
            + self.pick("", "", f"/{self.words(1)[0].replace(chr(39), '')}")
        )
