"""Contract stages as blocking asset checks: the verdict decides, and its failing rows are shown."""

import base64
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from orchestration.assets import failure_metadata
from orchestration.dvc import DvcResource, StageError
from orchestration.graph import Stage, StageGraph
from orchestration.terminal import announce, conclude
from orchestration.translator import DvcTranslator

#: Failing rows shown with a check; the quarantine manifest has them all.
MOST_ROWS = 200
VERDICT, REPORT, PLOT = "verdict.json", "report.html", "shift.png"


def dvc_checks(graph: StageGraph, translator: DvcTranslator | None = None) -> list[dg.AssetChecksDefinition]:
    """One blocking check per contract stage; a partitioned one gates partition by partition."""
    translator = translator or DvcTranslator()
    first: dict[str, Stage] = {}
    for stage in graph.values():
        if translator.get_checked_stage(stage):
            first.setdefault(stage.template, stage)
    with warnings.catch_warnings():
        # Dagster marks partitions on checks as a preview; they are what gates one batch without the others.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return [_check(stage, graph, translator) for stage in first.values()]


def _check(stage: Stage, graph: StageGraph, translator: DvcTranslator) -> dg.AssetChecksDefinition:
    checked = translator.resolve_check(stage, graph)
    partitions = translator.get_partitions_def(checked)

    @dg.asset_check(
        asset=translator.get_asset_key(checked),
        name=stage.template,
        description=stage.description,
        blocking=True,
        partitions_def=partitions,
        pool=translator.get_pool(stage),
    )
    def check(context: dg.AssetCheckExecutionContext, dvc: DvcResource) -> dg.AssetCheckResult:
        name = f"{stage.template}@{context.partition_key}" if partitions else stage.name
        announce(name)
        try:
            run = dvc.repro(name, context.log.info)
        except StageError as failed:
            # A check that emits nothing lets everything downstream proceed: a failure is a failed result.
            conclude(name, failed=failed.cause)
            return dg.AssetCheckResult(
                passed=False,
                severity=dg.AssetCheckSeverity.ERROR,
                description=str(failed),
                metadata=failure_metadata(failed),
            )
        conclude(name, run=run)
        folder = dvc.root / run.stage.outs[0].path
        return verdict_result(folder, cached=run.cached, seconds=run.seconds)

    return check


def verdict_result(folder: Path, *, cached: bool, seconds: float) -> dg.AssetCheckResult:
    """The check result of a verdict folder. A verdict that cannot be read fails the check."""
    try:
        verdict = json.loads((folder / VERDICT).read_text())
        accepted, rows, suites = bool(verdict["accepted"]), verdict["quarantined"], verdict["suites"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return dg.AssetCheckResult(
            passed=False,
            severity=dg.AssetCheckSeverity.ERROR,
            description=f"{folder / VERDICT} cannot be read ({error!r}); run the check again",
        )
    failing = [suite for suite in suites if not suite.get("success")]
    warned = [suite["suite"] for suite in failing if suite.get("severity") != "critical"]
    metadata: dict[str, Any] = {
        "cached": dg.MetadataValue.bool(cached),
        "seconds": dg.MetadataValue.float(round(seconds, 3)),
        "pages": dg.MetadataValue.int(int(verdict.get("pages", 0))),
        "quarantined": dg.MetadataValue.int(len(rows)),
        "verdict": dg.MetadataValue.path(str(folder / VERDICT)),
    }
    if rows:
        metadata["failing rows"] = _table(rows)
    metadata |= _docs(folder, suites) | _shift(folder, verdict)
    if not accepted:
        names = ", ".join(suite["suite"] for suite in failing) or "the batch"
        description = f"rejected: {names}; {len(rows)} rows set aside"
        return dg.AssetCheckResult(
            passed=False, severity=dg.AssetCheckSeverity.ERROR, description=description, metadata=metadata
        )
    # Accepted with reservations: shown as a warning, which blocks nothing.
    reserved = bool(warned or rows)
    description = f"accepted, {len(rows)} rows set aside" if rows else "accepted"
    if warned:
        description += f"; warned by {', '.join(warned)}"
    return dg.AssetCheckResult(
        passed=not reserved, severity=dg.AssetCheckSeverity.WARN, description=description, metadata=metadata
    )


def _docs(folder: Path, suites: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Every rule with its outcome, and the report. Browsers open no file from a page that a server sent, so the
    rules are shown here too, and the report's path is there to be copied."""
    names = ("suite", "severity", "rule", "failing", "of", "why")
    rules = [{**suite, **rule} for suite in suites for rule in suite.get("rules", ())]
    docs: dict[str, Any] = {}
    if rules:
        schema = dg.TableSchema([dg.TableColumn(name, "string") for name in names])
        records = [dg.TableRecord({name: _cell(rule.get(name)) for name in names}) for rule in rules]
        docs["rules"] = dg.MetadataValue.table(records, schema)
    report = folder / REPORT
    if report.is_file():
        docs["data docs"] = dg.MetadataValue.url(report.resolve().as_uri())
        docs["data docs file"] = dg.MetadataValue.path(str(report.resolve()))
    return docs


def _shift(folder: Path, verdict: Mapping[str, Any]) -> dict[str, Any]:
    """The batch's distance from the reference snapshot by measure, and its plot."""
    distances = {name: far for name, far in verdict.get("shift", {}).items() if far is not None}
    shown: dict[str, Any] = {
        f"shift: {name}": dg.MetadataValue.float(float(far)) for name, far in distances.items()
    }
    plot = folder / PLOT
    if plot.is_file():
        data = base64.b64encode(plot.read_bytes()).decode()
        shown["shift"] = dg.MetadataValue.md(f"![shift](data:image/png;base64,{data})")
    return shown


def _table(rows: list[Mapping[str, Any]]) -> dg.TableMetadataValue:
    columns = ("page", "item", "rule", "value", "reason", "severity")
    records = [{name: _cell(row.get(name)) for name in columns} for row in rows[:MOST_ROWS]]
    schema = dg.TableSchema([dg.TableColumn(name, "string") for name in columns])
    return dg.MetadataValue.table([dg.TableRecord(record) for record in records], schema)


def _cell(value: Any) -> str:
    return "" if value is None else str(value)
