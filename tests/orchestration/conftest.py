"""A toy project: the shape of the real graph with stages of one shell command."""

import os
from pathlib import Path

import dagster as dg
import pytest

from orchestration.definitions import build_definitions

DVC_YAML = """
vars: [batches.yaml]
stages:
  synth:
    desc: Make pages.
    cmd: mkdir -p data/landing/synthetic && echo ${seed} > data/landing/synthetic/a
    params: [seed]
    outs: [data/landing/synthetic]
    meta: {group: pages, kinds: [typst]}
  batch:
    foreach: ${batches}
    do:
      desc: Read a batch.
      cmd: mkdir -p data/batches/${key} && cat ${item.path}/* > data/batches/${key}/pages
      deps: ["${item.path}"]
      outs: ["data/batches/${key}"]
      meta: {group: pages, partitions: page_batches}
  contract:
    foreach: ${batches}
    do:
      desc: Check a batch.
      cmd: python3 check.py data/batches/${key}/pages data/verdicts/${key}
      deps: ["data/batches/${key}"]
      outs: ["data/verdicts/${key}"]
      meta: {check_of: batch}
  snapshot:
    desc: All accepted pages.
    cmd: mkdir -p data/snapshot metrics && cat data/batches/*/pages > data/snapshot/pages && python3 count.py
    deps: [data/batches, data/verdicts]
    outs: [data/snapshot]
    metrics: [{metrics/snapshot.json: {cache: false}}]
    meta: {group: dataset}
  trident:
    desc: Train.
    cmd: mkdir -p models && cp data/snapshot/pages models/trident && cp curves.csv metrics/trident.csv
    deps: [data/snapshot]
    outs: [models/trident]
    plots: [{metrics/trident.csv: {cache: false, x: step, y: loss}}]
    meta: {group: training, pool: train}
  export:
    foreach: [trident, student]
    do:
      cmd: mkdir -p graphs && echo ${item} > graphs/${item}
      deps: [models/trident]
      outs: ["graphs/${item}"]
"""

CHECK = """
import json, os, sys
text = open(sys.argv[1]).read()
os.makedirs(sys.argv[2], exist_ok=True)
rows = [{"page": "p1", "item": "a", "rule": "ink", "value": "0", "reason": "empty", "severity": "warning"}]
json.dump({
    "batch": sys.argv[1], "accepted": "bad" not in text, "pages": 1,
    "quarantined": rows if "odd" in text or "bad" in text else [],
    "suites": [{"suite": "images", "severity": "critical", "success": "bad" not in text, "rules": []}],
}, open(sys.argv[2] + "/verdict.json", "w"))
"""

COUNT = """
import json
pages = open("data/snapshot/pages").read().split()
json.dump({"pages": {"all": len(pages)}, "names": pages}, open("metrics/snapshot.json", "w"))
"""


class Project:
    """A toy project on disk and what is done with it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / ".dvc" / "tmp").mkdir(parents=True)
        (root / ".dvc" / "config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
        self.write("dvc.yaml", DVC_YAML)
        self.write("params.yaml", "seed: 7\n")
        self.write("batches.yaml", "batches:\n  synthetic: {source: store, path: data/landing/synthetic}\n")
        self.write("curves.csv", "step,loss,val_f1\n1,2.0,\n2,1.0,0.5\n")
        self.write("check.py", CHECK)
        self.write("count.py", COUNT)

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.root / name).read_text()
        assert old in text
        (self.root / name).write_text(text.replace(old, new))

    def definitions(self) -> dg.Definitions:
        return build_definitions(self.root)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture(autouse=True, scope="session")
def _site_cache(tmp_path_factory: pytest.TempPathFactory):
    """DVC keeps its index of a project apart from it: not in the person's own cache."""
    os.environ["DVC_SITE_CACHE_DIR"] = str(tmp_path_factory.mktemp("dvc"))
    yield
    del os.environ["DVC_SITE_CACHE_DIR"]
