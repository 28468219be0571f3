import json

import dagster as dg
import pytest

from orchestration.checks import verdict_result
from orchestration.run import GraphError, materialise_graph


def test_a_rejected_batch_fails_only_its_own_partition_and_the_graph_goes_on(project, instance):
    project.write("data/landing/scans/a", "bad\n")
    project.edit(
        "batches.yaml", "batches:\n", "batches:\n  scans: {source: images, path: data/landing/scans}\n"
    )
    run = materialise_graph(project.root, instance)
    assert list(run.rejected) == ["scans"]
    assert "rejected: images" in run.rejected["scans"]
    assert "trident" in {asset.name for asset in run.assets}
    passed = {}
    for record in instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey("batch"), "contract"), limit=10
    ):
        assert record.event is not None and record.event.dagster_event is not None
        evaluation = record.event.dagster_event.asset_check_evaluation_data
        passed[evaluation.partition] = evaluation.passed
    assert passed == {"synthetic": True, "scans": False}


def test_a_contract_that_cannot_run_is_a_failed_result_not_a_missing_one(project, instance):
    project.write("check.py", "raise SystemExit('the suite is broken')")
    run = materialise_graph_until_batches(project, instance)
    [evaluation] = run.get_asset_check_evaluations()
    assert not evaluation.passed
    assert "the suite is broken" in (evaluation.description or "")
    with pytest.raises(GraphError, match="the suite is broken"):
        materialise_graph(project.root, instance)


def materialise_graph_until_batches(project, instance):
    definitions = project.definitions()
    definitions.resolve_job_def("sources").execute_in_process(instance=instance)
    instance.add_dynamic_partitions("page_batches", ["synthetic"])
    job = definitions.resolve_job_def("landed_batch")
    return job.execute_in_process(instance=instance, partition_key="synthetic", raise_on_error=False)


def verdict(folder, accepted: bool, rows: int, severity: str = "critical", success: bool = True):
    row = {
        "page": "p",
        "item": "a.png",
        "rule": "box inside page",
        "value": "-3",
        "reason": "r",
        "severity": "critical",
    }
    suites = [{"suite": "words", "severity": severity, "success": success, "rules": []}]
    content = {"batch": "b", "accepted": accepted, "pages": 9, "quarantined": [row] * rows, "suites": suites}
    (folder / "verdict.json").write_text(json.dumps(content))
    return verdict_result(folder, cached=False, seconds=1.0)


def test_rows_set_aside_are_a_warning_and_a_table(tmp_path):
    result = verdict(tmp_path, accepted=True, rows=2)
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)
    table = result.metadata["failing rows"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [record.data["rule"] for record in table.records] == ["box inside page"] * 2


def test_a_clean_batch_passes(tmp_path):
    assert verdict(tmp_path, accepted=True, rows=0).passed


def test_a_rejected_batch_is_an_error(tmp_path):
    result = verdict(tmp_path, accepted=False, rows=1, success=False)
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.ERROR)


def test_a_damaged_verdict_is_an_error(tmp_path):
    (tmp_path / "verdict.json").write_text("{")
    result = verdict_result(tmp_path, cached=False, seconds=0)
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.ERROR)


def test_the_rules_the_report_and_the_shift_are_shown(tmp_path):
    rule = {"rule": "page_not_blank", "failing": 1, "of": 9, "why": "Blank.", "success": False}
    suites = [{"suite": "pages-warnings", "severity": "warning", "success": False, "rules": [rule]}]
    content = {"accepted": True, "quarantined": [], "suites": suites, "shift": {"ink": 1.25, "words": None}}
    (tmp_path / "verdict.json").write_text(json.dumps(content))
    (tmp_path / "report.html").write_text("<html>")
    (tmp_path / "shift.png").write_bytes(b"png")
    metadata = verdict_result(tmp_path, cached=False, seconds=0.0).metadata
    rules = metadata["rules"]
    assert isinstance(rules, dg.TableMetadataValue)
    assert rules.records[0].data["rule"] == "page_not_blank"
    assert rules.records[0].data["severity"] == "warning"
    assert metadata["data docs"].value == (tmp_path / "report.html").resolve().as_uri()
    assert metadata["shift: ink"].value == 1.25
    assert "shift: words" not in metadata
    assert "data:image/png;base64,cG5n" in str(metadata["shift"].value)


def test_a_rejected_snapshot_stops_what_follows_it(project, instance):
    project.edit(
        "dvc.yaml",
        "  trident:\n",
        "  contract_snapshot:\n    cmd: python3 check.py data/snapshot/pages data/snapshot_verdict\n"
        "    deps: [data/snapshot]\n    outs: [data/snapshot_verdict]\n    meta: {check_of: snapshot}\n"
        "  trident:\n",
    )
    project.write("params.yaml", "seed: bad\n")
    project.edit("check.py", '"bad" not in text', '"bad" not in text or "verdicts" in sys.argv[2]')
    with pytest.raises(GraphError, match="rejected: images"):
        materialise_graph(project.root, instance)
    assert not (project.root / "models/trident").exists()
