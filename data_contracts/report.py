"""A verdict for people: a table for the terminal, a page for the browser."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from html import escape
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from data_contracts.verdict import Verdict

#: Rows shown on the screen; the verdict has them all.
_ON_SCREEN = 12

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;width:100%;margin:.5rem 0 2rem}
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem}
td{border-top:1px solid #ddd;overflow-wrap:anywhere}
img{max-width:100%}
.good{color:#17692f}.bad{color:#a3161a}.warned{color:#8a5a00}
"""


def headline(verdict: Verdict) -> str:
    """The verdict in one line."""
    lost = len(verdict.lost_pages)
    refused = len({row.item for row in verdict.quarantined if not row.page})
    state = "accepted" if verdict.accepted else "rejected"
    parts = [f"{verdict.batch}: {state}, {verdict.pages - lost} of {verdict.pages} pages are good"]
    if lost:
        parts.append(f"{lost} set aside")
    if refused:
        parts.append(f"{refused} inputs refused by the reader")
    return "; ".join(parts)


def show(verdict: Verdict, console: Console) -> None:
    """Print rules, what was set aside and what to do. Untrusted text is printed as it is, never as markup."""
    rules = Table("rule", "state", "failing", "of", "why it matters", box=None, pad_edge=False)
    for suite, rule in _rules(verdict):
        state, style = _state(suite, rule)
        mark = {"good": "green", "bad": "red", "warned": "yellow"}[style]
        rules.add_row(
            Text(rule["rule"]),
            Text(state, mark),
            str(rule["failing"]),
            str(rule["of"]),
            Text("" if rule["success"] else rule["why"]),
        )
    console.print(rules)
    if verdict.quarantined:
        console.print(f"\nset aside ({len(verdict.quarantined)}):")
        for row in verdict.quarantined[:_ON_SCREEN]:
            console.print(Text(f"  {row.rule}  {row.reason}"))
        if len(verdict.quarantined) > _ON_SCREEN:
            console.print(f"  and {len(verdict.quarantined) - _ON_SCREEN} more")
    examples = list(_examples(verdict))
    if examples:
        console.print("\nfindings that set no page aside:")
        for name, reason in examples[:_ON_SCREEN]:
            console.print(Text(f"  {name}  {reason}"))
    if verdict.shift:
        console.print(Text(f"\nshift against the reference snapshot: {_distances(verdict)}"))
    console.print(Text(f"\n{headline(verdict)}"))


def html(verdict: Verdict, plot: bytes | None = None) -> str:
    """The same as a self-contained page, with the PNG `plot` of the shift. What came from outside is escaped."""
    state = "good" if verdict.accepted else "bad"
    rules = [
        (_cell(rule["rule"]), _cell(*_state(suite, rule)), _cell(f"{rule['failing']} of {rule['of']}"),
         _cell(rule["why"]))
        for suite, rule in _rules(verdict)
    ]  # fmt: skip
    lost = [
        tuple(_cell(text) for text in (row.page and row.page[:12], row.item, row.rule, row.value, row.reason))
        for row in verdict.quarantined
    ]
    findings = [(_cell(name), _cell(reason)) for name, reason in _examples(verdict)]
    body = [
        f"<h1>{escape(verdict.batch)}</h1><p class={state}>{escape(headline(verdict))}</p>",
        _table("Set aside", ("page", "item", "rule", "value", "reason"), lost),
        _table("Findings that set no page aside", ("rule", "reason"), findings),
        _picture(verdict, plot) if plot else "",
        _table("Rules", ("rule", "state", "failing", "why"), rules),
    ]
    head = f"<meta charset=utf-8><title>{escape(verdict.batch)}: data contract</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(body)}</body></html>\n"


def _picture(verdict: Verdict, plot: bytes) -> str:
    uri = f"data:image/png;base64,{base64.b64encode(plot).decode()}"
    return f"<h2>Shift against the reference snapshot</h2><p>{_distances(verdict)}</p><p><img alt=shift src={uri}>"


def _distances(verdict: Verdict) -> str:
    return ", ".join(f"{name} {far:.2f}" for name, far in verdict.shift.items() if not math.isnan(far))


def _rules(verdict: Verdict) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    return ((suite, rule) for suite in verdict.suites for rule in suite["rules"])


def _state(suite: dict[str, Any], rule: dict[str, Any]) -> tuple[str, str]:
    """What to call the outcome, and its style."""
    if rule["success"]:
        return "passed", "good"
    return (suite["severity"], "bad") if suite["severity"] == "critical" else ("warning", "warned")


def _examples(verdict: Verdict) -> Iterator[tuple[str, str]]:
    """(rule, reason) of what failed without setting a page aside: warnings, and rules on the whole batch."""
    for suite, rule in _rules(verdict):
        if suite["severity"] == "warning" or rule["scope"] == "batch":
            for example in rule["examples"][:2]:
                yield rule["rule"], example["reason"]


def _cell(text: object, style: str = "") -> str:
    return f"<td{f' class={style}' if style else ''}>{escape('' if text is None else str(text))}</td>"


def _table(title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{name}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f"<h2>{title}</h2><table><tr>{head}</tr>{body}</table>"
