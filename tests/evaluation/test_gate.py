from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml.cli import main
from ml.config import GateConfig
from ml.evaluation.bootstrap import compare
from ml.evaluation.gate import against, floors


def document(name: str, matched: int, edits: int = 0, hit: int = 1) -> dict[str, Any]:
    return {
        "document": name,
        "pages": 1,
        "words": {"truth": 10, "found": 10, "matched": matched},
        "end_to_end": {"truth": 10, "found": 10, "matched": matched},
        "reading": {"words": 10, "characters": 50, "edits": edits, "exact": 10 - edits},
        "layout": {"truth": [1], "found": [[0, 0.9, hit]]},
    }


def documents(matched: list[int], edits: int = 0) -> list[dict[str, Any]]:
    return [document(f"d{i:02d}", value, edits) for i, value in enumerate(matched)]


def evaluation(**parts: Any) -> dict[str, Any]:
    return {"model": "m", "pages": 2, "documents": [], **parts}


READER = evaluation(
    words={"precision": 0.9, "recall": 0.9, "f1": 0.9},
    reading={"cer": 0.2, "exact": 0.6},
    end_to_end={"f1": 0.5},
    layout={"ap": 0.0, "ap50": 0.0},
)


def test_a_model_over_all_its_floors_passes() -> None:
    rules = floors(READER, GateConfig())
    assert {rule["rule"] for rule in rules} == {"word_f1", "cer", "end_to_end_f1"}
    assert all(rule["passed"] for rule in rules)


@pytest.mark.parametrize(
    ("part", "value", "rule"),
    [
        ("words", {"f1": 0.49}, "word_f1"),
        ("reading", {"cer": 0.61}, "cer"),
        ("end_to_end", {"f1": 0.0}, "end_to_end_f1"),
    ],
)
def test_each_floor_blocks_by_itself(part: str, value: dict[str, float], rule: str) -> None:
    failed = [r["rule"] for r in floors(READER | {part: value}, GateConfig()) if not r["passed"]]
    assert failed == [rule]


def test_a_layout_model_is_held_to_the_layout_floor_alone() -> None:
    rules = floors(evaluation(layout={"ap": 0.0, "ap50": 0.01}), GateConfig())
    assert [(rule["rule"], rule["bound"], rule["passed"]) for rule in rules] == [("layout_ap50", 0.02, False)]


def test_a_model_without_any_figure_does_not_slip_through() -> None:
    assert not all(rule["passed"] for rule in floors(evaluation(), GateConfig()))


def test_the_same_model_neither_gains_nor_loses() -> None:
    rows = documents([9, 3, 7, 8])
    for comparison in compare(rows, rows, resamples=50, tolerance=0.0, seed=1):
        assert (comparison.gain, comparison.low, comparison.high, comparison.worse) == (0, 0, 0, 0)


def test_a_model_that_loses_on_every_document_is_refused() -> None:
    better, worse = documents([9] * 20), documents([7] * 20)
    rules = against({"documents": worse}, {"documents": better}, GateConfig(resamples=200), seed=1)
    verdicts = {rule["rule"].split()[0]: rule["passed"] for rule in rules}
    assert verdicts == {"word_f1": False, "cer": True, "end_to_end_f1": False, "layout_ap50": True}
    words = next(rule for rule in rules if rule["rule"].startswith("word_f1"))
    assert words["value"] == pytest.approx(-0.2)
    assert words["worse"] == 1.0


def test_more_character_errors_are_a_loss_although_the_number_rises() -> None:
    rules = against(
        {"documents": documents([9] * 20, edits=10)},
        {"documents": documents([9] * 20, edits=0)},
        GateConfig(resamples=100),
        seed=1,
    )
    cer = next(rule for rule in rules if rule["rule"].startswith("cer"))
    assert (cer["value"], cer["passed"]) == (pytest.approx(-0.2), False)


def test_a_loss_that_luck_explains_does_not_block() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(2, 10, 12)
    shaken = (base + rng.choice([-2, 2, -1, 1, 0, -1], 12)).clip(0, 10)
    rules = against(
        {"documents": documents(shaken.tolist())},
        {"documents": documents(base.tolist())},
        GateConfig(resamples=500),
        seed=1,
    )
    assert all(rule["passed"] for rule in rules)


def test_the_comparison_is_a_function_of_the_seed() -> None:
    a, b = documents([9, 4, 6, 8]), documents([8, 5, 6, 7])
    assert compare(a, b, resamples=50, tolerance=0, seed=3) == compare(
        a, b, resamples=50, tolerance=0, seed=3
    )


def test_other_documents_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="different documents"):
        compare(documents([1, 2]), documents([1, 2, 3]), resamples=5, tolerance=0, seed=0)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("gate: {resamples: 10}\n")
    (tmp_path / "graphs" / "trident").mkdir(parents=True)
    (tmp_path / "metrics").mkdir()
    return tmp_path


def gate(project: Path) -> int:
    return main(
        ["gate", "graphs/trident", "--data", "store", "--metrics", "metrics", "--out", "metrics/gate.json"]
    )


def test_the_verdict_is_in_the_file_and_the_command_succeeds(project: Path) -> None:
    (project / "metrics" / "evaluate_trident.json").write_text(json.dumps(READER | {"words": {"f1": 0.1}}))
    assert gate(project) == 0
    verdict = json.loads((project / "metrics" / "gate.json").read_text())["models"]["trident"]
    assert (verdict["passed"], verdict["champion"]) == (False, None)
    assert verdict["rules"][0] == {"rule": "word_f1", "value": 0.1, "bound": 0.5, "passed": False}


def test_a_missing_evaluation_is_a_usage_error_that_names_the_file(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gate(project) == 2
    assert "evaluate_trident.json" in capsys.readouterr().err
