"""The verdict on a snapshot, and its command."""

import json
from pathlib import Path

import pytest

from data_contracts.facts import facts_of, facts_of_pages
from data_contracts.snapshot import conclude_snapshot
from data_contracts.suites import SNAPSHOT_RULES, SPLIT_RULES
from data_contracts.verdict import Verdict
from ml.cli import main
from ml.pages.page import Page, Region
from ml.pages.store import PageStore
from tests.data_contracts.conftest import page, write_batch
from tests.data_contracts.test_rules import broken_rules, noisy_copy

GOOD = {"train": [page(0), page(1)], "val": [page(2)], "test": [page(3)]}
WITH_FORMULA = page(3, regions=((page(3).regions or ()) * 2 + (Region((5, 15, 155, 120), "Formula"),)))

#: Rule -> splits that break it.
BROKEN: dict[str, dict[str, list[Page]]] = {
    "document_in_one_split": {**GOOD, "test": [page(3), page(4, document="document-0")]},
    "page_in_one_split": {**GOOD, "test": [page(3), page(1, document="a copy")]},
    "page_no_twin_across_splits": {**GOOD, "test": [noisy_copy(1)]},
    "snapshot_trains": {**GOOD, "train": []},
    "snapshot_holds_out": {**GOOD, "val": []},
    "snapshot_labels_trained": {**GOOD, "test": [WITH_FORMULA]},
    "snapshot_labels_spread": {
        **GOOD,
        "train": [page(0), page(1, regions=(Region((5, 15, 155, 120), "Text"),) * 9)],
    },
}
ACCOMPANIED = {
    "page_in_one_split": {"page_no_twin_across_splits"},  # it is its own twin
    "snapshot_trains": {"snapshot_labels_trained"},
}


def conclude(pages: dict[str, list[Page]]) -> Verdict:
    splits = [split for split, of_split in pages.items() for _ in of_split]
    return conclude_snapshot("s", facts_of_pages(p for of_split in pages.values() for p in of_split), splits)


def test_a_good_snapshot_breaks_no_rule():
    verdict = conclude(GOOD)
    assert (broken_rules(verdict), verdict.accepted, verdict.pages) == (set(), True, 4)
    assert verdict.profile.pages == 2  # of what is trained on


@pytest.mark.parametrize("rule", [*SPLIT_RULES, *SNAPSHOT_RULES], ids=lambda rule: rule.name)
def test_a_rule_fails_on_the_snapshot_that_breaks_it(rule):
    verdict = conclude(BROKEN[rule.name])
    broken = broken_rules(verdict)
    assert rule.name in broken
    assert broken - {rule.name} <= ACCOMPANIED.get(rule.name, set())
    assert verdict.accepted == (rule.severity == "warning")


def test_look_alikes_within_one_split_are_no_leak():
    pages = {**GOOD, "train": [*GOOD["train"], noisy_copy(1)]}
    assert broken_rules(conclude(pages)) == set()


def test_a_leak_names_both_pages():
    [suite] = [s for s in conclude(BROKEN["page_no_twin_across_splits"]).suites if not s["success"]]
    [rule] = [r for r in suite["rules"] if not r["success"]]
    assert rule["examples"][0]["reason"].startswith("copy.png (test): looks the same as 1.png")


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    for split, pages in GOOD.items():
        write_batch(tmp_path / "snapshot" / split, pages)
    return tmp_path / "snapshot"


def test_the_command_judges_a_snapshot_and_accepts_it_as_reference(snapshot, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["check", str(snapshot), "--out", "verdict", "--accept"]) == 0
    verdict = json.loads(Path("verdict/verdict.json").read_text())
    assert (verdict["batch"], verdict["accepted"], verdict["pages"]) == ("snapshot", True, 4)
    assert {suite["suite"] for suite in verdict["suites"]} == {
        "splits", "splits-warnings", "snapshot", "snapshot-warnings",
    }  # fmt: skip
    assert json.loads(Path("reference.json").read_text())["pages"] == 2


def test_a_leaking_snapshot_is_rejected_and_becomes_no_reference(snapshot, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_batch(snapshot / "test", [page(1)])
    assert main(["check", str(snapshot), "--accept"]) == 1
    assert not Path("reference.json").exists()


def test_a_batch_cannot_be_accepted_as_reference(batch, capsys):
    assert main(["check", str(batch), "--accept"]) == 2
    assert "--accept takes a snapshot" in capsys.readouterr().err


def test_facts_are_the_same_from_several_processes(tmp_path, monkeypatch):
    store = PageStore(write_batch(tmp_path / "many", [page(n, document=f"d{n % 3}") for n in range(9)]))
    alone = facts_of(store)
    monkeypatch.setattr("data_contracts.facts.MANY", 1)
    monkeypatch.setattr("data_contracts.facts.CHUNK", 4)
    together = facts_of(store, workers=2)
    for name in ("pages", "words", "regions"):
        assert alone.table(name).equals(together.table(name))
    assert (alone.fingerprints == together.fingerprints).all()
