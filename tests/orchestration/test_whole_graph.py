"""The main job at toy size, all of it real: every stage, DVC, Dagster and a Triton server."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from ml.serving.environment import default_folder
from orchestration.graph import StageGraph

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not default_folder().exists(), reason="no server environment; `make setup` makes it"),
]


@dataclass
class Demo:
    root: Path
    first: dict
    again: dict
    html: str


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def scriptorium(root: Path, *arguments: str) -> str:
    """Run the command as a person would. Returns what it said on stderr."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("DVC_SITE_CACHE_DIR", None)
    environment["DVC_SITE_CACHE_DIR"] = str(root / ".dvc" / "site")
    command = [sys.executable, "-m", "ml.cli", *arguments]
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, timeout=1800, check=False
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return done.stderr


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    root = tmp_path_factory.mktemp("clone")
    for name in tracked():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, root / name)
    if not (root / ".venv-serve").exists():
        (root / ".venv-serve").symlink_to(default_folder().resolve())
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    scriptorium(root, "profile", "smoke")
    reports = []
    for _ in range(2):
        scriptorium(root, "demo")
        reports.append(json.loads((root / "demo/report.json").read_text()))
    return Demo(root, *reports, (root / "demo/report.html").read_text())


def test_the_demo_ends_with_pages_read_by_a_server(demo):
    assert demo.first["served"] is True
    assert demo.first["pages"] > 0
    assert set(demo.first["words"]) >= {"precision", "recall", "f1"}
    assert set(demo.first["reading"]) >= {"cer", "exact"}
    assert set(demo.first["layout"]) == {"teacher", "student"}
    read = sorted((demo.root / "demo/read").glob("*.json"))
    assert read and all("words" in json.loads(path.read_text()) for path in read)


def test_every_stage_ran_and_is_in_the_report(demo):
    expected = {
        f"{s.template}[{s.item}]" if s.template in ("batch", "contract") else s.name.replace("@", "_")
        for s in StageGraph.load(demo.root).values()
    }
    assert set(demo.first["seconds"]["assets"]) == expected
    assert demo.first["cached"] == []


def test_a_second_demo_finds_every_asset_cached_and_reads_again(demo):
    assert set(demo.again["cached"]) == set(demo.first["seconds"]["assets"])
    assert demo.again["served"] is True
    assert demo.again["words"] == demo.first["words"]


def test_dvc_agrees_with_what_dagster_did(demo):
    status = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "--json"],
        cwd=demo.root,
        env={**os.environ, "DVC_SITE_CACHE_DIR": str(demo.root / ".dvc" / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(status.stdout) == {}


def test_dagster_keeps_the_runs_with_versions_metrics_and_pictures(demo, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(demo.root / ".dagster"))
    with dg.DagsterInstance.get() as instance:
        found = {}
        for key in ("snapshot", "trident", "served"):
            event = instance.get_latest_materialization_event(dg.AssetKey(key))
            assert event is not None and event.asset_materialization is not None
            found[key] = event.asset_materialization
        history = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(dg.AssetKey("batch"), "contract"), limit=1
        )
    graph = StageGraph.load(demo.root)
    for key, materialization in found.items():
        assert (materialization.tags or {})["dagster/data_version"] == graph[key].version
        assert any(isinstance(value, dg.FloatMetadataValue) for value in materialization.metadata.values())
    assert "data:image/" in str(found["trident"].metadata["curves"].value)
    assert "data:image/" in str(found["snapshot"].metadata["pages"].value)
    assert "data:image/" in str(found["served"].metadata["pages found"].value)
    assert history and history[0].partition == "synthetic"


def test_the_report_is_one_file_with_pages_and_curves(demo):
    assert demo.html.count("<svg") >= 2
    assert demo.html.count("data:image/png") >= 3
    assert 'src="http' not in demo.html and 'href="http' not in demo.html
