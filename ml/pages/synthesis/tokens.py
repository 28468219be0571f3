"""What stands between words: amounts, dates, codes, measures, citations, as the page's language writes them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ml.pages.synthesis.terms import term

_UNITS = (
    "kg",
    "g",
    "mg",
    "km",
    "m",
    "cm",
    "mm",
    "ml",
    "l",
    "kWh",
    "W",
    "V",
    "Hz",
    "MB",
    "GB",
    "s",
    "min",
    "h",
    "°C",
)
_CURRENCIES = ("EUR", "USD", "GBP", "CHF", "kr", "SEK", "PLN", "JPY")
_SUFFIXES = ("pdf", "txt", "csv", "docx", "jpg", "xml", "py", "html")
_ROMAN = ("II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII", "XIV", "XVI", "XIX", "XX")


@dataclass
class Tokens:
    """Draws single tokens; all of them are a function of `rng` and `language`."""

    rng: np.random.Generator
    language: str

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def pick(self, *choices: str) -> str:
        return choices[int(self.rng.integers(len(choices)))]

    def whole(self, low: int, high: int) -> int:
        """A whole number in [low, high]."""
        return int(self.rng.integers(low, high + 1))

    def number_like(self) -> str:
        """A token that is no word, as it stands in running text."""
        return (
            self.small, self.small, self.small, self.year, self.amount, self.percent, self.decimal, self.date,
            self.reference, self.time, self.measure, self.span, self.cited, self.short, self.acronym,
            self.mixed,
        )[self.whole(0, 15)]()  # fmt: skip

    def small(self) -> str:
        return str(self.whole(0, 120))

    def year(self) -> str:
        return str(self.whole(1850, 2029))

    def grouped(self, value: float, places: int) -> str:
        """A number with its language's marks: 1,234.50, 1.234,50 or, in French, 1234,50."""
        text = f"{value:,.{places}f}"
        if self.language == "en":
            return text
        thousands = "" if self.language == "fr" else "."
        return text.translate(str.maketrans({",": thousands, ".": ","}))

    def amount(self) -> str:
        """Money, from cents to millions."""
        value = 10 ** float(self.rng.uniform(0, 5.5))
        body = self.grouped(value, 2) if self.chance(0.75) else self.grouped(math.floor(value), 0)
        if self.language == "en":
            sign = self.pick("$", "$", "$", "€", "£", "", "-")
            return sign + body if sign != "€" or self.chance(0.6) else body + sign
        return body + self.pick("€", "€", "", "", "-")

    def figure(self) -> str:
        """A number as it stands in a table."""
        return self.pick(
            str(self.whole(0, 9999)),
            self.grouped(float(self.rng.uniform(0, 100)), 1),
            self.grouped(float(self.rng.uniform(0, 1000)), 2),
            self.percent(),
            f"{self.pick('+', '-', '±')}{self.grouped(float(self.rng.uniform(0, 9)), 2)}",
            f"({self.whole(1, 99)})",
        )

    def percent(self) -> str:
        if self.chance(0.5):
            return f"{self.whole(0, 100)}%"
        return f"{self.grouped(float(self.rng.uniform(0, 100)), 1)}%"

    def decimal(self) -> str:
        return self.grouped(float(self.rng.uniform(0, 20)), self.whole(1, 3))

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
        day, year = self.whole(1, 28), self.whole(1950, 2029)
        month = self.pick(*term("months", self.language).split())
        if self.language == "en":
            return self.pick(
                f"{month} {day}, {year}", f"{day} {month} {year}", f"{month[:3]} {day}, {year}", self.date()
            )
        mark = "." if self.language == "de" else ""
        return self.pick(f"{day}{mark} {month} {year}", f"{day}{mark} {month} {year}", self.date())

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
            f"{self.whole(1000, 9999)}-{self.whole(1000, 9999)}-{self.whole(10, 99)}{letters[0]}",
        )

    def measure(self) -> str:
        value = self.decimal() if self.chance(0.5) else str(self.whole(1, 900))
        return value + self.pick(*_UNITS)

    def span(self) -> str:
        low = self.whole(1, 300)
        return f"{low}{self.pick('-', '–', '/', 'x')}{low + self.whole(1, 60)}"

    def cited(self) -> str:
        return self.pick(
            f"[{self.whole(1, 60)}]",
            f"[{self.whole(1, 20)},{self.whole(21, 60)}]",
            f"({self.whole(1950, 2029)})",
            f"({self.whole(1, 30)})",
        )

    def short(self) -> str:
        """An abbreviation."""
        return self.pick(*term("short", self.language).split())

    def acronym(self) -> str:
        letters = "".join(chr(65 + int(n)) for n in self.rng.integers(26, size=self.whole(2, 5)))
        return letters + self.pick("", "", "", "s", "-2", f"{self.whole(1, 99)}")

    def mixed(self) -> str:
        """What is neither word nor number: files, versions, hosts, formulas of chemistry, Roman numbers."""
        stem = "".join(chr(97 + int(n)) for n in self.rng.integers(26, size=self.whole(3, 7)))
        return self.pick(
            f"{stem}_{self.whole(1, 99)}.{self.pick(*_SUFFIXES)}",
            f"v{self.whole(0, 9)}.{self.whole(0, 20)}",
            f"{stem}.{self.pick('org', 'com', 'eu', 'net')}",
            f"{self.pick('H', 'CO', 'NaCl', 'Fe', 'SO')}{self.whole(2, 4)}",
            self.pick(*_ROMAN),
            f"{self.pick(*_CURRENCIES)}",
            f"{self.whole(1, 9)}{self.pick('st', 'nd', 'rd', 'th') if self.language == 'en' else 'a'}",
            f"<{stem}>",
            f"{self.pick('n', 'p', 'x', 'N')}{self.pick('=', '<', '>')}{self.decimal()}",
            f"{stem}@{self.whole(1, 99)}",
            f"/{stem}/{stem[:3]}",
        )

    def phone(self) -> str:
        return self.pick(
            f"+{self.whole(1, 99)} {self.whole(100, 999)} {self.whole(1000000, 9999999)}",
            f"({self.whole(200, 999)}) {self.whole(200, 999)}-{self.whole(1000, 9999)}",
            f"{self.whole(100, 999)}-{self.whole(100, 999)}-{self.whole(1000, 9999)}",
            f"0{self.whole(100, 9999)} / {self.whole(10000, 9999999)}",
        )

    def account(self) -> str:
        """An IBAN in groups of four."""
        digits = "".join(map(str, self.rng.integers(10, size=18)))
        text = self.pick("DE", "FR", "NL", "ES", "IT", "PT", "GB") + digits
        return " ".join(text[i : i + 4] for i in range(0, len(text), 4))
