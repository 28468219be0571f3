"""The verdict on a snapshot: are its splits apart, and alike? Its pages were judged batch by batch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from data_contracts.facts import Facts, joined, observations, twins
from data_contracts.profile import profile_of, share_moved
from data_contracts.suites import SNAPSHOT_RULES, SPLIT_RULES
from data_contracts.verdict import Verdict, hold_all, lost_pages, suites_of
from ml.pages.splits import SPLITS
from ml.pages.store import PageStore


def is_snapshot(folder: Path) -> bool:
    """Whether `folder` holds splits rather than pages."""
    return (folder / "train").is_dir()


def judge_snapshot(folder: Path, workers: int = 2) -> Verdict:
    """Judge the snapshot in `folder`. Raises InputError when a split is no page store, or is damaged."""
    stores = {split: PageStore(folder / split) for split in SPLITS}
    splits = [split for split, store in stores.items() for _ in range(len(store))]
    seen = (part for store in stores.values() for part in observations(store, workers=workers))
    return conclude_snapshot(folder.resolve().name, joined(seen), splits)


def conclude_snapshot(name: str, facts: Facts, splits: list[str]) -> Verdict:
    """The verdict on `facts`, of which page i lies in split `splits[i]`. Its profile is that of train."""
    tables = {"splits": split_facts(facts, splits)}
    outcomes = hold_all(SPLIT_RULES, tables)
    of_whole = hold_all(SNAPSHOT_RULES, whole := {"snapshot": _whole(facts, splits)})
    held_out = {page for page, split in zip(facts.pages["page"], splits, strict=True) if split != "train"}
    return Verdict(
        batch=name,
        accepted=all(o.success for o in (*outcomes, *of_whole) if o.rule.severity == "critical"),
        pages=len(facts.pages),
        quarantined=[row for outcome in outcomes for row in lost_pages(outcome, tables["splits"])],
        suites=[*suites_of(outcomes, tables), *suites_of(of_whole, whole)],
        profile=profile_of(facts, held_out),
    )


def split_facts(facts: Facts, splits: list[str]) -> pd.DataFrame:
    """A row a page: page item document split, `document_splits` and `page_splits` (in how many splits its
    document and its image lie), `twin` (what looks the same in another split)."""
    table = facts.pages[["page", "item", "document"]].assign(split=splits)
    return table.assign(
        document_splits=table.groupby("document")["split"].transform("nunique"),
        page_splits=table.groupby("page")["split"].transform("nunique"),
        twin=twins(list(table["item"]), pd.factorize(table["split"])[0], facts.fingerprints),
    )


def _whole(facts: Facts, splits: list[str]) -> pd.DataFrame:
    """One row: sizes, and how the labels of the held-out splits differ from those of train."""
    pages = Counter(splits)
    split_of_region = np.array(splits, object)[facts.regions["row"].to_numpy()]
    labels = {split: _shares(facts.regions["label"].to_numpy()[split_of_region == split]) for split in SPLITS}
    distances = {split: share_moved(labels[split], labels["train"]) for split in ("val", "test")}
    known = {split: distance for split, distance in distances.items() if not math.isnan(distance)}
    farthest = max(known, key=lambda split: known[split], default="")
    untrained = sorted({*labels["val"], *labels["test"]} - set(labels["train"]))
    row = {
        "train": pages["train"],
        "held_out": min(pages["val"], pages["test"]),
        "val": pages["val"],
        "test": pages["test"],
        "untrained": ", ".join(untrained),
        "farthest": farthest,
        "label_distance": known.get(farthest, float("nan")),
    }
    return pd.DataFrame([row])


def _shares(labels: Iterable[str]) -> dict[str, float]:
    counts = Counter(labels)
    return {label: count / counts.total() for label, count in counts.items()}
