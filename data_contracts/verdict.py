"""From facts and rules to a verdict: which pages are lost, whether the batch stands, and why."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from data_contracts.expectations import Outcome, hold
from data_contracts.facts import Facts, facts_of
from data_contracts.profile import Profile, judged_shift, profile_of, shift
from data_contracts.suites import BATCH_RULES, PAGE_RULES, SHIFT_RULES, Rule
from ml.errors import InputError
from ml.models.charset import Charset
from ml.pages.store import PageStore

#: Failing rows shown with a rule; what is lost is all in `quarantined`.
EXAMPLES = 5
#: Characters of a value: texts and labels come from outside.
LONGEST = 120
#: The suite of what the reader refused before there was a page to look at.
READER = "reader"


@dataclass(frozen=True)
class Lost:
    """Why one page, or one input that never became a page, is set aside."""

    page: str | None
    item: str
    rule: str
    value: str
    reason: str
    severity: str = "critical"


@dataclass(frozen=True)
class Verdict:
    """The content of verdict.json, and the profiles that its plot is drawn from."""

    batch: str  # or the snapshot
    accepted: bool
    pages: int  # of the store; what the reader refused comes on top
    quarantined: list[Lost]
    suites: list[dict[str, Any]]
    profile: Profile  # of the good pages; of a snapshot: of its training pages
    reference: Profile | None = None
    shift: dict[str, float] = field(default_factory=dict)  # measure -> distance from the reference

    @property
    def lost_pages(self) -> set[str]:
        """Ids of the store's pages that are set aside."""
        return {lost.page for lost in self.quarantined if lost.page}

    def as_dict(self) -> dict[str, Any]:
        return {
            "batch": self.batch,
            "accepted": self.accepted,
            "pages": self.pages,
            "quarantined": [asdict(lost) for lost in self.quarantined],
            "suites": self.suites,
            "shift": {name: None if math.isnan(far) else round(far, 4) for name, far in self.shift.items()},
        }


def judge(
    batch: Path, charset: Charset | None = None, reference: Profile | None = None, workers: int = 2
) -> Verdict:
    """Judge the batch in folder `batch`, with its shift where there is a `reference`.

    Raises InputError when it is none, or is damaged.
    """
    store = PageStore(batch)
    refused = _refused(batch / "quarantine.json")
    verdict = conclude(batch.resolve().name, facts_of(store, charset, workers), refused)
    return verdict if reference is None else compared(verdict, reference)


def compared(verdict: Verdict, reference: Profile) -> Verdict:
    """The verdict with the batch's shift against `reference`, which is never more than a warning."""
    distances = shift(verdict.profile, reference)
    table = {"shift": judged_shift(distances, verdict.profile.pages)}
    suites = [*verdict.suites, *suites_of(hold_all(SHIFT_RULES, table), table)]
    return replace(verdict, suites=suites, reference=reference, shift=distances)


def conclude(batch: str, facts: Facts, refused: list[Lost]) -> Verdict:
    """The verdict on `facts`, and on what the reader had `refused` before."""
    outcomes = hold_all(PAGE_RULES, {name: facts.table(name) for name in ("pages", "words", "regions")})
    lost = [row for outcome in outcomes for row in lost_pages(outcome, facts.table(outcome.rule.table))]
    ids = set(facts.pages["page"])
    # A refused copy of a page that is in the store must not take the first copy with it: it keeps no page id.
    refused = [row if row.page not in ids else Lost(None, *list(asdict(row).values())[1:]) for row in refused]
    bad = {row.page for row in lost if row.page}
    whole = _batch_facts(facts, bad, sum(row.rule not in {"page_twice", "page_known"} for row in refused))
    of_batch = hold_all(BATCH_RULES, {"batch": whole})
    return Verdict(
        batch=batch,
        accepted=all(outcome.success for outcome in of_batch if outcome.rule.severity == "critical"),
        pages=len(facts.pages),
        quarantined=refused + lost,
        suites=[
            _reader_suite(refused),
            *suites_of(outcomes, {name: facts.table(name) for name in ("pages", "words", "regions")}),
            *suites_of(of_batch, {"batch": whole}),
        ],
        profile=profile_of(facts, bad),
    )


def hold_all(rules: tuple[Rule, ...], tables: dict[str, pd.DataFrame]) -> list[Outcome]:
    """All rules, suite by suite."""
    by_suite: dict[str, list[Rule]] = {}
    for rule in rules:
        by_suite.setdefault(rule.suite, []).append(rule)
    return [outcome for suite in by_suite.values() for outcome in hold(tuple(suite), tables[suite[0].table])]


def lost_pages(outcome: Outcome, table: pd.DataFrame) -> list[Lost]:
    """One row a page that broke a critical rule: its first failing box, and how many more there are."""
    if outcome.rule.severity != "critical" or outcome.success:
        return []
    lost = []
    failing = table.iloc[list(outcome.failing)]
    for _, rows in failing.groupby("row" if "row" in failing else failing.index, sort=True):
        first, more = _row(rows.iloc[0]), len(rows) - 1
        reason = outcome.rule.reason.format_map(first) + (f" (and {more} more on this page)" if more else "")
        lost.append(
            Lost(first["page"], first["item"], outcome.rule.name, _value(outcome.rule, first), reason)
        )
    return lost


def _row(row: pd.Series) -> dict[str, Any]:
    """The facts of a row for a reason: cut to a length, with the box as people write it."""
    facts = {name: value[:LONGEST] if isinstance(value, str) else value for name, value in row.items()}
    if "x1" in facts:
        facts["box"] = f"({', '.join(f'{facts[edge]:.10g}' for edge in ('x1', 'y1', 'x2', 'y2'))})"
    return {str(name): value for name, value in facts.items()}


def _value(rule: Rule, facts: dict[str, Any]) -> str:
    value = facts[rule.shown or rule.column]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _batch_facts(facts: Facts, bad: set[str], refused: int) -> pd.DataFrame:
    """One row: what is left when the bad pages are gone. Shares of nothing are null."""
    annotated = dict(zip(facts.pages["page"], facts.pages["annotated"], strict=True))
    good = [known for page, known in annotated.items() if page not in bad]
    labels = Counter(
        label
        for page, label in zip(facts.regions["page"], facts.regions["label"], strict=True)
        if page not in bad
    )
    [(largest, count)] = labels.most_common(1) or [("", 0)]
    found, lost = len(annotated) + refused, len(annotated) - len(good) + refused
    row = {
        "pages": len(annotated),
        "accepted": len(good),
        "found": found,
        "lost": lost,
        "lost_share": lost / max(1, found),
        "largest_label": largest,
        "largest_label_share": count / labels.total() if labels else math.nan,
        "annotated_share": sum(good) / len(good) if good else math.nan,
    }
    return pd.DataFrame([row])


def suites_of(outcomes: list[Outcome], tables: dict[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """The outcomes as they stand in verdict.json."""
    return [
        {
            "suite": name,
            "severity": of_suite[0].rule.severity,
            "success": all(outcome.success for outcome in of_suite),
            "rules": [_report(outcome, tables[outcome.rule.table]) for outcome in of_suite],
        }
        for name, of_suite in (
            (name, list(group)) for name, group in groupby(outcomes, lambda o: o.rule.suite)
        )
    ]


def _report(outcome: Outcome, table: pd.DataFrame) -> dict[str, Any]:
    rule, shown = outcome.rule, [_row(table.iloc[place]) for place in outcome.failing[:EXAMPLES]]
    return {
        "rule": rule.name,
        "scope": rule.scope,
        "success": outcome.success,
        "failing": len(outcome.failing),
        "of": len(table),
        "expectation": rule.expectation,
        "column": rule.column,
        "arguments": rule.arguments,
        "why": rule.why,
        "examples": [
            {"page": row.get("page"), "value": _value(rule, row), "reason": rule.reason.format_map(row)}
            for row in shown
        ],
    }


def _reader_suite(refused: list[Lost]) -> dict[str, Any]:
    """What the reader refused, in the form of a suite, so that one list names everything that was lost."""
    return {
        "suite": READER,
        "severity": "critical",
        "success": not refused,
        "rules": [
            {
                "rule": rule,
                "scope": "page",
                "success": False,
                "failing": count,
                "of": len(refused),
                "why": "The reader could not make a page of it.",
                "examples": [
                    {"page": row.page, "value": row.value, "reason": row.reason}
                    for row in refused
                    if row.rule == rule
                ][:EXAMPLES],
            }
            for rule, count in sorted(Counter(row.rule for row in refused).items())
        ],
    }


def _refused(path: Path) -> list[Lost]:
    """The rows of the reader's quarantine.json. A store that no reader made has none."""
    if not path.is_file():
        return []
    try:
        return [
            Lost(row["page"], *(str(row[name])[:500] for name in ("item", "rule", "value", "reason")))
            for row in json.loads(path.read_text(encoding="utf-8"))
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged ({error!r}); ingest the batch again") from error
