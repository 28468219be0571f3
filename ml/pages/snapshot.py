"""`scriptorium snapshot`: the accepted pages of all batches as one versioned dataset, split by document."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ml.config import SnapshotConfig, add_params_option, load_params
from ml.errors import InputError, UsageError
from ml.pages.page import Page
from ml.pages.splits import SPLITS, Split, split_documents
from ml.pages.store import MANIFEST, PageStore, PageWriter, write_text
from ml.progress import Meter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--batches", type=Path, default=Path("data/batches"), metavar="DIR", help="folder of the batches"
    )
    parser.add_argument(
        "--verdicts", type=Path, default=Path("data/verdicts"), metavar="DIR", help="folder of their verdicts"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("data/snapshot"), metavar="DIR", help="folder to write"
    )
    parser.add_argument(
        "--metrics", type=Path, default=Path("metrics/snapshot.json"), metavar="FILE", help="counts to write"
    )
    add_params_option(parser)


def run(args: argparse.Namespace) -> int:
    params = load_params(args.params)
    summary = make_snapshot(args.batches, args.verdicts, args.out, params.seed, params.snapshot)
    args.metrics.parent.mkdir(parents=True, exist_ok=True)
    write_text(args.metrics, json.dumps(summary.metrics(), indent=2) + "\n")
    print(summary.text(args.out))
    return 0


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that the contracts judged."""

    name: str
    store: PageStore
    quarantined: frozenset[str]  # page ids


@dataclass(slots=True)
class Summary:
    """What a snapshot holds, and what was left out of it and why."""

    digest: str = ""
    pages: dict[Split, list[str]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    documents: dict[Split, set[str]] = field(default_factory=lambda: {split: set() for split in SPLITS})
    batches: dict[str, int] = field(default_factory=dict)  # pages taken of each
    words: Counter[Split] = field(default_factory=Counter)
    labels: dict[Split, Counter[str]] = field(default_factory=lambda: {split: Counter() for split in SPLITS})
    left_out: list[dict[str, Any]] = field(default_factory=list)

    def count(self, page: Page, split: Split) -> None:
        self.pages[split].append(page.id)
        self.documents[split].add(page.document)
        self.words[split] += len(page.words or ())
        self.labels[split].update(region.label for region in page.regions or ())

    def metrics(self) -> dict[str, Any]:
        """Counts for `dvc metrics`."""
        return {
            "pages": {split: len(self.pages[split]) for split in SPLITS},
            "documents": {split: len(self.documents[split]) for split in SPLITS},
            "words": {split: self.words[split] for split in SPLITS},
            "regions": dict(sorted(sum(self.labels.values(), Counter()).items())),
            "batches": len(self.batches),
            "left_out": len(self.left_out),
        }

    def manifest(self, seed: int, config: SnapshotConfig) -> dict[str, Any]:
        return {
            "format": "scriptorium-snapshot",
            "version": 1,
            "digest": self.digest,
            "seed": seed,
            "shares": {"val": config.val, "test": config.test},
            "batches": self.batches,
            "labels": {split: dict(sorted(self.labels[split].items())) for split in SPLITS},
            "splits": {split: self.pages[split] for split in SPLITS},
            "left_out": self.left_out,
        }

    def text(self, out: Path) -> str:
        counts = ", ".join(f"{len(self.pages[s])} {s} ({len(self.documents[s])} documents)" for s in SPLITS)
        rows = [f"{out}: {counts}; {sum(self.words.values())} words; digest {self.digest[:12]}"]
        rows += [f"  {name}: {taken} pages" for name, taken in self.batches.items()]
        if self.left_out:
            reasons = Counter(row["rule"] for row in self.left_out)
            rows.append(
                f"  left out: {', '.join(f'{rule} {n}' for rule, n in sorted(reasons.items()))} ({MANIFEST})"
            )
        return "\n".join(rows)


def make_snapshot(batches: Path, verdicts: Path, out: Path, seed: int, config: SnapshotConfig) -> Summary:
    """Write the accepted pages of `batches` to `out`/{train,val,test}.

    A page that lies in two batches is stored once, from the batch whose name comes first. Each batch fills
    shards of its own, so an unchanged batch gives unchanged files.

    Raises InputError when no page is accepted.
    """
    if config.val + config.test >= 1:
        raise UsageError(
            f"snapshot.val + snapshot.test is {config.val + config.test:g}: nothing is left to train on"
        )
    summary = Summary()
    accepted = _accepted(batches, verdicts, summary)
    taken: set[str] = set()
    chosen: list[tuple[Batch, list[int]]] = []
    for batch in accepted:
        chosen.append((batch, _choose(batch, taken, summary)))
    total = sum(len(rows) for _, rows in chosen)
    if total == 0:
        raise InputError(
            f"{batches}: no accepted page; read the verdicts in {verdicts}, mend the pages, ingest again"
        )
    documents = (batch.store.entries[row].document for batch, rows in chosen for row in rows)
    split_of = split_documents(documents, seed, config.val, config.test)
    with (
        PageWriter(out / "train") as train,
        PageWriter(out / "val") as val,
        PageWriter(out / "test") as test,
        Meter(total, "snapshot", "pages") as meter,
    ):
        writers: dict[Split, PageWriter] = {"train": train, "val": val, "test": test}
        for batch, rows in chosen:
            for writer in writers.values():
                writer.begin(batch.name)
            for row in rows:
                page = batch.store[row]
                split = split_of[page.document]
                writers[split].write(page)
                summary.count(page, split)
                meter.update()
            summary.batches[batch.name] = len(rows)
    summary.digest = _digest(out)
    write_text(
        out / MANIFEST, json.dumps(summary.manifest(seed, config), indent=1, ensure_ascii=False) + "\n"
    )
    return summary


def _accepted(batches: Path, verdicts: Path, summary: Summary) -> list[Batch]:
    """The accepted batches in the order of their names; the others go to `summary.left_out`."""
    if not batches.is_dir():
        raise UsageError(f"{batches}: no such folder; ingest a batch first")
    found: list[Batch] = []
    for folder in sorted(path for path in batches.iterdir() if path.is_dir()):
        verdict = _verdict(verdicts / folder.name / "verdict.json")
        if verdict is None or not verdict["accepted"]:
            rule = "batch_unjudged" if verdict is None else "batch_refused"
            reason = f"{folder.name}: " + (
                f"no verdict; run `scriptorium check {folder}`"
                if verdict is None
                else f"refused; see {verdicts / folder.name}"
            )
            summary.left_out.append({"batch": folder.name, "page": None, "rule": rule, "reason": reason})
            print(f"scriptorium snapshot: left out: {reason}", file=sys.stderr)
            continue
        quarantined = frozenset(row["page"] for row in verdict["quarantined"] if row.get("page"))
        found.append(Batch(folder.name, PageStore(folder), quarantined))
    return found


def _verdict(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        verdict = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(verdict["accepted"], bool) or not all(
            isinstance(row, dict) for row in verdict["quarantined"]
        ):
            raise TypeError("`accepted` is no boolean or `quarantined` no list of rows")
        return verdict
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not a verdict ({error}); run `scriptorium check` on the batch again"
        ) from error


def _choose(batch: Batch, taken: set[str], summary: Summary) -> list[int]:
    """The rows of `batch` that enter the snapshot."""
    rows: list[int] = []
    for row, entry in enumerate(batch.store.entries):
        if entry.id in batch.quarantined:
            rule, reason = "page_quarantined", f"set aside by the contracts; see the verdict of {batch.name}"
        elif entry.id in taken:
            rule, reason = "page_twice", "the same image is already in the snapshot"
        else:
            taken.add(entry.id)
            rows.append(row)
            continue
        summary.left_out.append({"batch": batch.name, "page": entry.id, "rule": rule, "reason": reason})
    return rows


def _digest(out: Path) -> str:
    """SHA-256 over the splits' shards, names and bytes: equal digests mean equal datasets."""
    whole = hashlib.sha256()
    for split in SPLITS:
        for shard in sorted((out / split).glob("*.parquet")):
            with shard.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            whole.update(f"{split}/{shard.name} {digest}\n".encode())
    return whole.hexdigest()
