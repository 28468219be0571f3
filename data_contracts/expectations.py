"""Rules held against a table by Great Expectations: the only module that knows it.

It is imported when the first table is judged, because that takes six seconds and 240 MB.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd

from data_contracts.suites import Rule

#: Where a row stands in its table, in what Great Expectations gives back.
_ROW = "table_row"


class UnjudgedError(RuntimeError):
    """A rule could not be held against its table: it has neither passed nor failed."""


@dataclass(frozen=True)
class Outcome:
    """What came of one rule."""

    rule: Rule
    failing: tuple[int, ...]  # positions of the rows that break it

    @property
    def success(self) -> bool:
        return not self.failing


def hold(rules: tuple[Rule, ...], table: pd.DataFrame) -> list[Outcome]:
    """Hold `rules`, all of one table, against it; outcomes in the order of the rules.

    Raises UnjudgedError when Great Expectations cannot evaluate one of them.
    """
    if table.empty:  # no row, no row that fails
        return [Outcome(rule, ()) for rule in rules]
    gx, context = _great_expectations()
    suite = gx.ExpectationSuite(
        name=rules[0].suite,
        expectations=[
            getattr(gx.expectations, rule.expectation)(
                column=rule.column, severity=rule.severity, meta={"place": place}, **rule.arguments
            )
            for place, rule in enumerate(rules)
        ],
    )
    # Only the columns that are asked about: each further one is copied with every failing row.
    columns = list(dict.fromkeys(rule.column for rule in rules))
    frame = table[columns].assign(**{_ROW: range(len(table))})
    batch = _whole_frame(context).get_batch({"dataframe": frame})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations within the library
        validation = batch.validate(
            suite,
            result_format={
                "result_format": "COMPLETE",
                "unexpected_index_column_names": [_ROW],
                "return_unexpected_index_query": False,
            },
        )
    outcomes = {}
    for result in validation.results:
        place = result.expectation_config.meta["place"]
        outcomes[place] = Outcome(rules[place], _failing(result, rules[place]))
    if len(outcomes) != len(rules):
        missing = [rule.name for place, rule in enumerate(rules) if place not in outcomes]
        raise UnjudgedError(f"no result for {', '.join(missing)}")
    return [outcomes[place] for place in range(len(rules))]


def _failing(result: Any, rule: Rule) -> tuple[int, ...]:
    rows = result.result.get("unexpected_index_list")
    if rows is None or result.success == bool(rows):
        raise UnjudgedError(f"{rule.name}: Great Expectations could not judge it: {result.exception_info}")
    return tuple(sorted(int(row[_ROW]) for row in rows))


@cache
def _great_expectations() -> tuple[Any, Any]:
    """The library and a context that writes nothing and reports to nobody."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import great_expectations as gx  # noqa: PLC0415  (see above)
        from great_expectations.data_context.types.base import ProgressBarsConfig  # noqa: PLC0415

        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return gx, context


@cache
def _whole_frame(context: Any) -> Any:
    source = context.data_sources.add_pandas("facts")
    return source.add_dataframe_asset("table").add_batch_definition_whole_dataframe("whole")
