from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.cli import main
from ml.config import Params, SnapshotConfig
from ml.errors import InputError, UsageError
from ml.pages.snapshot import make_snapshot
from ml.pages.splits import SPLITS, split_documents
from ml.pages.store import PageStore, PageWriter
from tests.pages.making import page

CONFIG = SnapshotConfig(val=0.2, test=0.2)
documents = st.sets(st.text(min_size=1, max_size=6), min_size=3, max_size=40)


@given(documents, st.integers(0, 9))
def test_no_split_is_empty_and_every_document_has_one(names, seed):
    split = split_documents(names, seed, 0.08, 0.12)
    assert set(split) == names
    assert set(split.values()) == set(SPLITS)


@given(documents, st.text(min_size=1, max_size=6))
def test_a_new_document_moves_no_other_in_a_large_set(names, new):
    names = names | {f"document-{number}" for number in range(200)}
    before, after = (split_documents(some, 1, 0.2, 0.2) for some in (names, names | {new}))
    assert {name: after[name] for name in names} == before


def test_shares_are_kept():
    split = list(split_documents(map(str, range(4000)), 3, 0.1, 0.3).values())
    assert abs(split.count("val") / 4000 - 0.1) < 0.02
    assert abs(split.count("test") / 4000 - 0.3) < 0.03


def test_a_share_of_nothing_gives_nothing():
    assert set(split_documents("abcdef", 3, 0, 0.3).values()) == {"train", "test"}


def batch(root: Path, name: str, pages, accepted: bool | None = True, quarantined=()) -> None:
    with PageWriter(root / "batches" / name, prefix=name) as writer:
        for one in pages:
            writer.write(one)
    if accepted is not None:
        folder = root / "verdicts" / name
        folder.mkdir(parents=True)
        rows = [
            {"page": identity, "item": "x", "rule": "r", "value": "", "reason": ""}
            for identity in quarantined
        ]
        verdict = {
            "batch": name,
            "accepted": accepted,
            "pages": len(pages),
            "quarantined": rows,
            "suites": [],
        }
        (folder / "verdict.json").write_text(json.dumps(verdict))


def snapshot(root: Path, seed: int = 1):
    return make_snapshot(root / "batches", root / "verdicts", root / "out", seed, CONFIG)


def stored(root: Path) -> dict[str, list[str]]:
    return {split: [one.id for one in PageStore(root / "out" / split)] for split in SPLITS}


def test_accepted_pages_enter_and_all_others_are_named(tmp_path):
    pages = [page(seed) for seed in range(12)]
    batch(tmp_path, "a", pages[:6], quarantined=[pages[2].id])
    batch(tmp_path, "b", [*pages[4:10]])  # 4 and 5 again
    batch(tmp_path, "refused", [pages[10]], accepted=False)
    batch(tmp_path, "unjudged", [pages[11]], accepted=None)
    summary = snapshot(tmp_path)
    found = [identity for split in stored(tmp_path).values() for identity in split]
    assert sorted(found) == sorted(pages[number].id for number in (0, 1, 3, 4, 5, 6, 7, 8, 9))
    left_out = {(row["batch"], row["rule"]) for row in summary.left_out}
    assert left_out == {
        ("a", "page_quarantined"),
        ("b", "page_twice"),
        ("refused", "batch_refused"),
        ("unjudged", "batch_unjudged"),
    }


def test_pages_of_one_document_share_a_split(tmp_path):
    batch(tmp_path, "a", [page(seed, document=f"d{seed % 5}") for seed in range(20)])
    snapshot(tmp_path)
    of = {split: {one.document for one in PageStore(tmp_path / "out" / split)} for split in SPLITS}
    assert all(of.values())
    assert sum(map(len, of.values())) == 5


def test_an_unchanged_batch_gives_unchanged_files(tmp_path):
    batch(tmp_path, "a", [page(seed) for seed in range(30)])
    batch(tmp_path, "c", [page(seed) for seed in range(40, 50)])
    first = snapshot(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.glob("out/*/[ac]-*.parquet")}
    assert snapshot(tmp_path).digest == first.digest
    batch(tmp_path, "b", [page(seed) for seed in range(60, 70)])
    second = snapshot(tmp_path)
    assert second.digest != first.digest
    assert {path: path.read_bytes() for path in tmp_path.glob("out/*/[ac]-*.parquet")} == before


def test_a_smaller_snapshot_leaves_nothing_of_a_larger_one(tmp_path):
    batch(tmp_path, "a", [page(seed) for seed in range(12)])
    batch(tmp_path, "b", [page(seed) for seed in range(20, 30)])
    snapshot(tmp_path)
    (tmp_path / "verdicts/b/verdict.json").unlink()
    snapshot(tmp_path)
    assert not list(tmp_path.glob("out/*/b-*"))


def test_without_an_accepted_page_there_is_no_snapshot(tmp_path):
    batch(tmp_path, "a", [page()], accepted=False)
    with pytest.raises(InputError, match="no accepted page"):
        snapshot(tmp_path)


def test_a_broken_verdict_is_named(tmp_path):
    batch(tmp_path, "a", [page()])
    (tmp_path / "verdicts/a/verdict.json").write_text('{"accepted": "yes"}')
    with pytest.raises(InputError, match="verdict"):
        snapshot(tmp_path)


def test_shares_that_leave_nothing_to_train_on_are_refused(tmp_path):
    batch(tmp_path, "a", [page()])
    with pytest.raises(UsageError, match="train"):
        make_snapshot(
            tmp_path / "batches",
            tmp_path / "verdicts",
            tmp_path / "out",
            1,
            SnapshotConfig(val=0.5, test=0.5),
        )


def test_the_command_writes_manifest_and_metrics(tmp_path, monkeypatch):
    import yaml

    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump(Params().model_dump(mode="json")))
    batch(tmp_path, "a", [page(seed) for seed in range(9)])
    assert main(["snapshot", "--batches", "batches", "--verdicts", "verdicts", "--out", "out"]) == 0
    metrics = json.loads(Path("metrics/snapshot.json").read_text())
    assert sum(metrics["pages"].values()) == 9
    assert metrics["regions"] == {"Text": 9} and metrics["batches"] == 1
    manifest = json.loads(Path("out/manifest.json").read_text())
    assert {split: len(ids) for split, ids in manifest["splits"].items()} == metrics["pages"]
    assert len(manifest["digest"]) == 64 and manifest["batches"] == {"a": 9}
