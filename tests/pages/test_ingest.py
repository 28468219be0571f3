from __future__ import annotations

import json

import pytest

from ml.cli import main
from ml.pages.store import PageStore, PageWriter
from tests.pages.making import coco, page, pdf, png, samples


def ingest(*arguments) -> int:
    return main(["ingest", *map(str, arguments)])


def test_auto_takes_pdfs_and_annotated_images_and_names_what_it_set_aside(tmp_path, capsys):
    source = tmp_path / "drop"
    source.mkdir()
    (source / "a.pdf").write_bytes(pdf("#set page(height: 99pt)\nHello"))
    (source / "bad.pdf").write_text("no")
    (source / "one.png").write_bytes(png(1))
    categories, boxes = (
        [{"id": 0, "name": "table"}],
        [{"image_id": 5, "category_id": 0, "bbox": [1, 1, 9, 9]}],
    )
    (source / "coco.json").write_text(coco([{"id": 5, "file_name": "one.png"}], boxes, categories))
    assert ingest("auto", source, "--batch", "mixed", "--out", tmp_path / "out") == 0
    store = PageStore(tmp_path / "out")
    assert [(entry.words is None, entry.regions) for entry in store.entries] == [(False, 1), (True, 1)]
    (row,) = json.loads((tmp_path / "out/quarantine.json").read_text())
    assert set(row) == {"item", "page", "rule", "value", "reason"}
    assert (row["item"], row["rule"]) == ("bad.pdf", "pdf_unreadable")
    said = capsys.readouterr().out
    assert "2 pages" in said and "Table 1" in said and "bad.pdf" in said


def test_auto_takes_plain_images_and_single_files(tmp_path):
    (tmp_path / "x.png").write_bytes(png(1))
    for number, source in enumerate((tmp_path, tmp_path / "x.png")):
        assert ingest("auto", source, "--batch", "b", "--out", tmp_path / f"out{number}") == 0
        (one,) = PageStore(tmp_path / f"out{number}")
        assert one.regions is None


def test_a_store_comes_through_unchanged_and_twice_the_same(tmp_path):
    pages = [page(seed) for seed in range(4)]
    with PageWriter(tmp_path / "in") as writer:
        for one in [*pages, pages[2]]:
            writer.write(one)
    for name in ("one", "two"):
        assert ingest("auto", tmp_path / "in", "--batch", "b", "--out", tmp_path / name) == 0
    assert list(PageStore(tmp_path / "one")) == pages
    (row,) = json.loads((tmp_path / "one/quarantine.json").read_text())
    assert (row["rule"], row["page"]) == ("page_twice", pages[2].id)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_dry_run_writes_nothing(tmp_path, capsys):
    (tmp_path / "x.png").write_bytes(png(1))
    assert ingest("images", tmp_path, "--batch", "b", "--out", tmp_path / "out", "--dry-run") == 0
    assert not (tmp_path / "out").exists()
    assert "1 pages" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["auto", "absent"], 2, "absent"),
        (["auto", "empty"], 1, "nothing that a reader knows"),
        (["pdf", "broken"], 1, "no page could be read"),
        (["store", "empty"], 1, "no page store"),
        (["auto", "broken", "--long-edge", "3"], 2, "--long-edge"),
        (["auto", "broken", "--batch", "../up"], 2, "--batch"),
        (["auto", "broken", "--out", "broken"], 2, "--out"),
    ],
)
def test_bad_requests_end_in_one_sentence(tmp_path, monkeypatch, capsys, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/x.pdf").write_text("nothing")
    batch = [] if "--batch" in arguments else ["--batch", "b"]
    assert ingest(*arguments, *batch) == code
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("scriptorium")]
    assert len(error) == 1 and said in error[0]


@pytest.mark.real
def test_real_pdfs_have_words_in_order(tmp_path):
    assert ingest("auto", samples("pdf"), "--batch", "real", "--out", tmp_path) == 0
    store = PageStore(tmp_path)
    assert len({one.document for one in store}) == 10
    assert json.loads((tmp_path / "quarantine.json").read_text()) == []
    texts = {one.source: " ".join(word.text for word in one.words or ()) for one in store}
    assert "pulleys, provided the inner race of the bearing" in texts["docling__amt_handbook_sample.pdf#1"]
    assert (
        "The above-entitled matter came on for oral argument"
        in texts["pdfplumber__scotus-transcript-p1.pdf#1"]
    )
    for one in store:
        assert one.words
        for word in one.words:
            x1, y1, x2, y2 = word.box
            assert 0 <= x1 < x2 <= one.width and 0 <= y1 < y2 <= one.height


@pytest.mark.real
def test_real_publaynet_pages_have_regions_and_no_words(tmp_path):
    assert ingest("auto", samples("publaynet"), "--batch", "real", "--out", tmp_path) == 0
    pages = list(PageStore(tmp_path))
    assert len(pages) == 7
    assert all(one.words is None and one.regions for one in pages)
    labels = {region.label for one in pages for region in one.regions or ()}
    assert labels <= {"Text", "Section-header", "List-item", "Table", "Picture"}
    assert all(one.document.startswith("PMC") for one in pages)
