"""What a set of pages looks like in numbers that are small enough to keep, and how far a batch is from it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_contracts.facts import Facts
from ml.errors import InputError

FORMAT, VERSION = "scriptorium-profile", 1

#: Pages below which chance alone would make a batch look different: it is measured and not judged.
ENOUGH = 20
#: Facts of pages that are compared, and below what they count as that: a factor needs something to multiply.
SMALLEST = {"ink": 1e-3, "word_height": 1.0, "words": 1.0, "short_edge": 1.0}
_PERCENTILES = np.linspace(0, 100, 101)


@dataclass(frozen=True)
class Profile:
    """How many `pages`; `curves`: fact of a page -> its 101 percentiles; `shares`: what -> value -> share."""

    pages: int
    curves: dict[str, list[float]]
    shares: dict[str, dict[str, float]]


def profile_of(facts: Facts, without: Collection[str] = ()) -> Profile:
    """The profile of all pages but those whose ids are in `without`."""
    pages, words, regions = (
        table.loc[~table["page"].isin(list(without))] for table in (facts.pages, facts.words, facts.regions)
    )
    known = {name: values[~np.isnan(values)] for name in SMALLEST for values in [pages[name].to_numpy(float)]}
    return Profile(
        len(pages),
        {
            name: [float(f"{value:.6g}") for value in np.percentile(values, _PERCENTILES)]
            for name, values in known.items()
            if len(values)
        },
        {
            "label": _shares(Counter(regions["label"])),
            "character": _shares(Counter("".join("".join(words["text"]).split()))),
        },
    )


def shift(batch: Profile, reference: Profile) -> dict[str, float]:
    """How far `batch` is from `reference`, by measure; NaN where one of them knows nothing of it.

    For a fact of pages: the factor, 1 at least, by which its values differ on average (the exponential of
    Wasserstein's distance between the logarithms). For labels and characters: the share, 0 to 1, that would
    have to be others (total variation).
    """
    distances = {
        name: _factor(batch.curves.get(name), reference.curves.get(name), smallest)
        for name, smallest in SMALLEST.items()
    }
    for name in ("label", "character"):
        distances[name] = share_moved(batch.shares.get(name, {}), reference.shares.get(name, {}))
    return distances


def judged_shift(distances: dict[str, float], pages: int) -> pd.DataFrame:
    """The one row that the rules on shift are held against; null where there are too few pages to judge."""
    row = distances if pages >= ENOUGH else dict.fromkeys(distances, float("nan"))
    return pd.DataFrame([{**row, "pages": pages}])


def share_moved(one: dict[str, float], other: dict[str, float]) -> float:
    """Total variation of two distributions, 0 to 1; NaN where one is empty."""
    if not one or not other:
        return float("nan")
    return sum(abs(one.get(name, 0.0) - other.get(name, 0.0)) for name in {**one, **other}) / 2


def _factor(one: list[float] | None, other: list[float] | None, smallest: float) -> float:
    if not one or not other:
        return float("nan")
    logs = [np.log(np.maximum(curve, smallest)) for curve in (one, other)]
    return float(np.exp(np.abs(logs[0] - logs[1]).mean()))


def _shares(counts: Counter[str]) -> dict[str, float]:
    total = counts.total()
    return {name: float(f"{count / total:.6g}") for name, count in sorted(counts.items())}


def as_text(profile: Profile) -> str:
    """The profile as a JSON file holds it, a line a curve, so that a change of reference can be reviewed."""
    content: dict[str, Any] = {"format": FORMAT, "version": VERSION, **asdict(profile)}
    lines = [f" {json.dumps(key)}: {_lines(value)}" for key, value in content.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _lines(value: Any) -> str:
    if not isinstance(value, dict) or not value:
        return json.dumps(value)
    rows = [f"  {json.dumps(key)}: {json.dumps(item, ensure_ascii=False)}" for key, item in value.items()]
    return "{\n" + ",\n".join(rows) + "\n }"


def read_profile(path: Path) -> Profile | None:
    """The profile in a file; None where no snapshot was made the reference yet. Raises InputError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT or content["version"] != VERSION:
            raise ValueError(f"not a profile of version {VERSION}")
        profile = Profile(int(content["pages"]), content["curves"], content["shares"])
        if any(len(curve) != len(_PERCENTILES) for curve in profile.curves.values()):
            raise ValueError(f"a curve has not {len(_PERCENTILES)} points")
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; make one with `scriptorium check SNAPSHOT --accept`"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: damaged ({error}); make it again with `scriptorium check SNAPSHOT --accept`"
        ) from error
    return profile if profile.pages else None
