"""`scriptorium check` on real batches, read by the real readers."""

import ast
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from data_contracts import expectations
from data_contracts.expectations import UnjudgedError, hold
from data_contracts.facts import facts_of_pages
from data_contracts.suites import PAGE_RULES
from ml.cli import main
from ml.pages.page import page_id
from tests.data_contracts.conftest import HEIGHT, WIDTH, page, png, with_region, write_batch

ROOT = Path(__file__).parents[2]


@pytest.fixture
def landed(tmp_path):
    """Six images with COCO boxes: one cut off, one with a box outside it, one with an unknown label."""
    folder = tmp_path / "landing"
    folder.mkdir()
    for number in range(6):
        image = png(number)
        (folder / f"{number}.png").write_bytes(image[: len(image) // 2] if number == 1 else image)
    boxes = {number: [10, 10, 100, 40] for number in range(6)} | {3: [100, 10, 100, 40]}
    annotation = {
        "images": [{"id": n, "file_name": f"{n}.png", "width": WIDTH, "height": HEIGHT} for n in range(6)],
        "annotations": [
            {"id": n, "image_id": n, "bbox": box, "category_id": 2 if n == 4 else 1}
            for n, box in boxes.items()
        ],
        "categories": [{"id": 1, "name": "Text"}, {"id": 2, "name": "Tabel"}],
    }
    (folder / "coco.json").write_text(json.dumps(annotation))
    return folder


def verdict_of(folder: Path):
    return json.loads((folder / "verdict.json").read_text(encoding="utf-8"))


def test_a_batch_loses_exactly_its_bad_pages_and_says_so(landed, tmp_path, capsys):
    batch, out = tmp_path / "batches" / "scans", tmp_path / "verdicts" / "scans"
    assert main(["ingest", "coco", str(landed), "--batch", "scans", "--out", str(batch)]) == 0
    assert main(["check", str(batch), "--out", str(out), "--record"]) == 0
    verdict = verdict_of(out)
    assert (verdict["batch"], verdict["accepted"], verdict["pages"]) == ("scans", True, 5)
    broken, outside, label = verdict["quarantined"]
    assert (broken["item"], broken["page"]) == ("1.png", None)
    assert "1.png" in broken["reason"]
    assert (outside["page"], outside["rule"]) == (page_id(png(3)), "region_box_inside")
    assert outside["reason"].startswith(
        "3.png, region 0: the box (100, 10, 200, 50) leaves the page of 160 x 200"
    )
    assert (label["page"], label["rule"], label["value"]) == (page_id(png(4)), "region_label_known", "Tabel")

    assert main(["check", str(batch)]) == 1
    shown = capsys.readouterr().out
    assert "region_label_known" in shown
    assert "accepted, 3 of 5 pages are good; 2 set aside; 1 inputs refused" in " ".join(shown.split())

    snapshot = ["snapshot", "--batches", str(batch.parent), "--verdicts", str(out.parent)]
    metrics = ["--metrics", str(tmp_path / "metrics.json"), "--params", str(ROOT / "params.yaml")]
    assert main([*snapshot, "--out", str(tmp_path / "snapshot"), *metrics]) == 0
    pages = json.loads((tmp_path / "snapshot" / "manifest.json").read_text())["splits"]
    kept = json.dumps(pages)
    assert all((page_id(png(n)) in kept) == (n in {0, 2, 5}) for n in range(6))


def test_a_good_batch_passes(batch, capsys):
    assert main(["check", str(batch)]) == 0
    assert "accepted, 4 of 4 pages are good" in capsys.readouterr().out


def test_a_batch_of_which_more_than_half_is_bad_is_rejected(tmp_path):
    pages = [page(0), *(with_region(page(number), label="?") for number in range(1, 4))]
    batch, out = write_batch(tmp_path / "bad", pages), tmp_path / "verdict"
    assert main(["check", str(batch), "--out", str(out)]) == 1
    verdict = verdict_of(out)
    assert not verdict["accepted"]
    assert [suite["suite"] for suite in verdict["suites"] if not suite["success"]] == ["regions", "batch"]
    [rule] = [r for s in verdict["suites"] for r in s["rules"] if r["rule"] == "batch_mostly_good"]
    assert rule["examples"][0]["reason"].startswith("3 of 4 pages are lost (75%)")


def test_a_batch_without_a_good_page_is_rejected_and_the_graph_goes_on(tmp_path):
    batch = write_batch(tmp_path / "bad", [with_region(page(1), label="?")])
    assert main(["check", str(batch), "--out", str(tmp_path / "verdict"), "--record"]) == 0
    verdict = verdict_of(tmp_path / "verdict")
    assert not verdict["accepted"]
    failed = {r["rule"] for s in verdict["suites"] for r in s["rules"] if not r["success"]}
    assert failed == {"region_label_known", "batch_has_pages", "batch_mostly_good"}


def test_half_bad_is_not_more_than_half(tmp_path):
    batch = write_batch(tmp_path / "half", [page(0), with_region(page(1), label="?")])
    main(["check", str(batch), "--out", str(tmp_path / "verdict"), "--record"])
    assert verdict_of(tmp_path / "verdict")["accepted"]


def test_what_the_reader_refused_counts_towards_the_rejection(batch, tmp_path):
    row = {"page": None, "rule": "image_unreadable", "value": "0 bytes", "reason": "no image; save it again"}
    rows = [{"item": f"{n}.jpg", **row} for n in range(5)]
    (batch / "quarantine.json").write_text(json.dumps(rows))
    assert main(["check", str(batch), "--out", str(tmp_path / "verdict")]) == 1
    verdict = verdict_of(tmp_path / "verdict")
    assert not verdict["accepted"]
    assert [lost["item"] for lost in verdict["quarantined"]] == [f"{n}.jpg" for n in range(5)]


def test_a_refused_copy_does_not_take_the_first_copy_with_it(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.png").write_bytes(png(1))
    batch = tmp_path / "copies"
    assert main(["ingest", "images", str(folder), "--batch", "copies", "--out", str(batch)]) == 0
    main(["check", str(batch), "--out", str(tmp_path / "verdict"), "--record"])
    verdict = verdict_of(tmp_path / "verdict")
    assert verdict["accepted"]
    assert [(lost["rule"], lost["page"]) for lost in verdict["quarantined"]] == [("page_twice", None)] * 2


def test_an_image_that_breaks_within_the_store_costs_its_page_only(tmp_path):
    cut = page(1)
    image = cut.image[:-40]
    batch = write_batch(tmp_path / "cut", [page(0), page(2), page(image=image)])
    assert main(["check", str(batch), "--out", str(tmp_path / "verdict")]) == 1
    verdict = verdict_of(tmp_path / "verdict")
    assert [(lost["page"], lost["rule"]) for lost in verdict["quarantined"]] == [
        (page_id(image), "image_decodes")
    ]
    assert verdict["accepted"]


def test_equal_batches_give_equal_bytes(batch, tmp_path):
    for name in "ab":
        main(["check", str(batch), "--out", str(tmp_path / name / "scans"), "--record"])
    for file in ("verdict.json", "report.html"):
        assert (tmp_path / "a/scans" / file).read_bytes() == (tmp_path / "b/scans" / file).read_bytes()


def test_the_report_shows_markup_from_outside_as_text(tmp_path):
    evil = with_region(page(1, source="<script>alert(1)</script>.png"), label="<img src=x onerror=alert(2)>")
    batch = write_batch(tmp_path / "evil", [page(0), evil])
    main(["check", str(batch), "--out", str(tmp_path / "verdict"), "--record"])
    report = (tmp_path / "verdict" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in report
    assert "<img" not in report
    assert "&lt;img src=x onerror=alert(2)&gt;" in report


def test_square_brackets_in_names_are_printed_as_they_are(tmp_path, capsys):
    batch = write_batch(
        tmp_path / "odd", [page(0), with_region(page(1, source="[bold]a[/x].png"), label="[red]")]
    )
    assert main(["check", str(batch)]) == 1
    assert "[bold]a[/x].png" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["{tmp}/nowhere"], 2, "no such folder"),
        (["{tmp}"], 1, "no page store"),
        (["{batch}", "--record"], 2, "--out DIR"),
    ],
)
def test_bad_usage_is_one_sentence(batch, tmp_path, capsys, arguments, code, message):
    filled = [word.format(tmp=tmp_path, batch=batch) for word in arguments]
    assert main(["check", *filled]) == code
    assert message in capsys.readouterr().err


def test_a_damaged_quarantine_manifest_is_an_input_error(batch, capsys):
    (batch / "quarantine.json").write_text('[{"item": "a"}]')
    assert main(["check", str(batch)]) == 1
    assert "quarantine.json: damaged" in capsys.readouterr().err


def test_great_expectations_is_not_imported_with_a_module():
    """It takes six seconds, also of those who only want `--help`."""
    for path in Path(expectations.__file__).parent.glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in getattr(node, "names", [])] + [getattr(node, "module", "") or ""]
            assert not any(name.startswith("great_expectations") for name in names), path


def test_a_rule_that_cannot_be_judged_does_not_pass():
    table = facts_of_pages([page(1)]).pages.drop(columns="short_edge").assign(short_edge="tall")
    with pytest.raises(UnjudgedError, match="page_large_enough"):
        hold(tuple(rule for rule in PAGE_RULES if rule.suite == "pages"), table)


def test_an_image_larger_than_the_bound_is_set_aside_undecoded(tmp_path, monkeypatch):
    monkeypatch.setattr("ml.pages.page.MAX_PIXELS", 40_000)
    file = io.BytesIO()
    Image.new("L", (400, 400), 255).save(file, "PNG")
    batch = write_batch(tmp_path / "large", [page(0), page(image=file.getvalue(), width=400, height=400)])
    main(["check", str(batch), "--out", str(tmp_path / "verdict"), "--record"])
    [lost] = verdict_of(tmp_path / "verdict")["quarantined"]
    assert (lost["rule"], "160,000" in lost["reason"] or "400 x 400" in lost["reason"]) == (
        "image_decodes",
        True,
    )
