import json

import pytest
import yaml

from ml.cli import main
from ml.training.engine import Steps
from ml.training.replay import ReplaySteps
from tests.training.test_trident import dataset, page, params


class Named(Steps):
    def __init__(self, name):
        self.name = name

    def __getitem__(self, step):
        return (self.name, step)

    def validation(self):
        return [self.name]


def test_a_share_of_the_steps_shows_old_pages_and_validation_only_new_ones():
    steps = ReplaySteps(Named("new"), Named("old"), 0.3, seed=5)
    shown = [steps[k] for k in range(1000)]
    assert [k for _, k in shown] == list(range(1000))
    assert sum(name == "old" for name, _ in shown) == pytest.approx(300, abs=45)
    assert shown == [ReplaySteps(Named("new"), Named("old"), 0.3, seed=5)[k] for k in range(1000)]
    assert list(steps.validation()) == ["new"]


def test_fine_tuning_reports_old_and_new_pages_before_and_after(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, numbers in (("old", (0, 1)), ("new", (2, 3))):
        folder = dataset(tmp_path / name, [page(i) for i in numbers])
        (folder / "manifest.json").write_text(json.dumps({"digest": name}))
    values = params().model_dump(mode="json")
    values["trident"]["training"] |= {"steps": 2, "evaluate_every": 2}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    first = ["train", "trident", "--data", "old", "--workers", "0"]
    assert main([*first, "--out", "models/base"]) == 0
    more = [
        "train",
        "trident",
        "--data",
        "new",
        "--start",
        "models/base",
        "--replay",
        "old",
        "--workers",
        "0",
    ]
    assert main([*more, "--out", "models/tuned"]) == 0
    out = capsys.readouterr().out
    assert "starts with" in out and "on the old pages: words f1" in out
    figures = json.loads((tmp_path / "metrics/trident.json").read_text())
    for when in ("before", "after"):
        for pages in ("old_pages", "new_pages"):
            assert 0 <= figures[f"{when}.{pages}.words_f1"] <= 1


def test_a_start_and_no_start_contradict_each_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = dataset(tmp_path / "data", [page(0)])
    (folder / "manifest.json").write_text(json.dumps({"digest": "d"}))
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params().model_dump(mode="json")))
    assert main(["train", "trident", "--data", "data", "--start", "x", "--from-scratch"]) == 2
    assert "contradict" in capsys.readouterr().err
