from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from ml.cli import main
from ml.pages.store import PageStore, PageWriter
from tests.pages.making import coco, page, pdf, png


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
    assert "PDF tags  read on 1 (a.pdf#1), at odds with the page on 0, none on 0" in said


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
        (["auto", "broken", "--max-seconds", "nan"], 2, "--max-seconds"),
        (["auto", "broken", "--known", "absent"], 2, "--known"),
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


KILLED = """
import os, sys
from ml.cli import main
from ml.pages import ingest, store
ingest.SHARD_PAGES = 2
write, left = store.PageWriter.write, [int(sys.argv[1])]
def dying(self, page):
    if left[0] == 0:
        os.kill(os.getpid(), 9)
    left[0] -= 1
    write(self, page)
store.PageWriter.write = dying
sys.exit(main(["ingest", "auto", sys.argv[2], "--batch", "b", "--out", sys.argv[3]]))
"""


def test_a_killed_run_goes_on_with_nothing_twice_and_nothing_lost(tmp_path):
    source = tmp_path / "drop"
    source.mkdir()
    for number in range(3):
        (source / f"{number}.pdf").write_bytes(
            pdf(f"#set page(height: 99pt)\n{number} #pagebreak() more {number}")
        )
        (source / f"{number}.png").write_bytes(png(number))
    (source / "1.pdf").write_text("broken")
    (source / "z.png").write_bytes(png(0))  # once more

    def run(writes: int, out: str) -> int:
        command = [sys.executable, "-c", KILLED, str(writes), str(source), str(tmp_path / out)]
        return subprocess.run(command, capture_output=True, check=False).returncode

    assert run(99, "whole") == 0
    whole = list(PageStore(tmp_path / "whole"))
    for killed_at in (0, 1, 3, 3):
        assert run(killed_at, "killed") == -9
        assert not (tmp_path / "killed/manifest.json").exists()
    assert run(99, "killed") == 0
    assert list(PageStore(tmp_path / "killed")) == whole and len(whole) == 7
    rows = [json.loads((tmp_path / name / "quarantine.json").read_text()) for name in ("whole", "killed")]
    assert rows[0] == rows[1] and {row["rule"] for row in rows[0]} == {"pdf_unreadable", "page_twice"}
    assert not (tmp_path / "killed/.unfinished.json").exists()


def test_what_a_killed_run_read_is_not_opened_again_and_other_files_start_afresh(tmp_path, capsys):
    source = tmp_path / "drop"
    source.mkdir()
    for number in range(4):
        (source / f"{number}.png").write_bytes(png(number))
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILLED, "2", str(source), str(out)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -9
    stamp = (source / "0.png").stat()
    (source / "0.png").write_bytes(
        bytes(stamp.st_size)
    )  # broken, but of the same size and time: not looked at
    os.utime(source / "0.png", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert ingest("auto", source, "--batch", "b", "--out", out) == 0
    assert "going on after 2 pages" in capsys.readouterr().out and len(PageStore(out)) == 4
    assert subprocess.run(command, capture_output=True, check=False).returncode == -9
    (source / "1.png").write_bytes(png(9))
    assert ingest("auto", source, "--batch", "b", "--out", out) == 0
    assert "going on" not in capsys.readouterr().out and len(PageStore(out)) == 3


class Killed(BaseException):
    """As a kill, but in this process: nothing handles it."""


def killed_at(count: int, monkeypatch, *arguments) -> None:
    """Ingest, and die before the page after `count` others is written."""
    write, left = PageWriter.write, iter(range(count))

    def dying(self, page):
        if next(left, None) is None:
            raise Killed
        write(self, page)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(PageWriter, "write", dying)
        ingest(*arguments)


def test_pages_of_one_name_and_names_with_number_signs_survive_a_kill(tmp_path, monkeypatch):
    monkeypatch.setattr("ml.pages.ingest.SHARD_PAGES", 1)
    source = tmp_path / "drop"
    source.mkdir()
    names = ["a#1.png", "b.png", "a#2.png", "a#1.png", "none.png", "b.png", "c.png"]
    for number, name in enumerate(("a#1.png", "a#2.png", "b.png", "c.png")):
        (source / name).write_bytes(png(number))
    listed = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    (source / "coco.json").write_text(coco(listed, [], []))
    common = ("coco", source, "--batch", "b", "--out")
    assert ingest(*common, tmp_path / "whole") == 0
    whole = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    assert [page.source for page in PageStore(tmp_path / "whole")] == ["a#1.png", "b.png", "a#2.png", "c.png"]
    for count in range(4):
        out = tmp_path / f"killed{count}"
        killed_at(count, monkeypatch, *common, out)
        killed_at(0, monkeypatch, *common, out)
        (out / "..unfinished.json.part").write_text("cut o")
        assert ingest(*common, out) == 0
        assert {path.name: path.read_bytes() for path in out.iterdir()} == whole


def test_a_checkpoint_waits_for_ever_more_pages_because_it_tells_all_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr("ml.pages.ingest.SHARD_PAGES", 1)
    (tmp_path / "in").mkdir()
    for number in range(44):
        (tmp_path / f"in/{number:02}.png").write_bytes(png(number, (8, 8)))
    told = []
    monkeypatch.setattr(PageWriter, "checkpoint", lambda self, state: told.append(len(state["done"])))
    assert ingest("images", tmp_path / "in", "--batch", "b", "--out", tmp_path / "out") == 0
    assert told == [*range(1, 20), 21, 23, 25, 27, 29, 32, 35, 38, 42]


def test_files_that_no_reader_knows_are_named(tmp_path, capsys):
    source = tmp_path / "drop"
    (source / "inner").mkdir(parents=True)
    (source / "x.png").write_bytes(png(1))
    (source / "inner/notes.docx").write_text("?")
    (source / "broken.json").write_text('{"imag')
    (source / ".hidden").write_text("")
    assert ingest("auto", source, "--batch", "b", "--dry-run") == 0
    assert "left alone 2 files that no reader knows: broken.json, inner/notes.docx" in capsys.readouterr().out


def test_the_batch_itself_is_not_known_beforehand(tmp_path):
    (tmp_path / "a.png").write_bytes(png(1))
    for _ in range(2):
        out = tmp_path / "batches/one"
        assert ingest("images", tmp_path / "a.png", "--batch", "one", "--out", out, "--known", tmp_path) == 0
        known = ("--known", tmp_path / "batches")
        assert ingest("images", tmp_path / "a.png", "--batch", "one", "--out", out, *known) == 0
    assert len(PageStore(tmp_path / "batches/one")) == 1
    out = tmp_path / "batches/two"
    assert ingest("images", tmp_path / "a.png", "--batch", "two", "--out", out, *known) == 1


def test_pages_of_other_stores_are_not_stored_again(tmp_path):
    source = tmp_path / "drop"
    source.mkdir()
    (source / "a.png").write_bytes(png(1))
    assert ingest("images", source, "--batch", "one", "--out", tmp_path / "one") == 0
    (source / "b.png").write_bytes(png(2))
    assert (
        ingest("images", source, "--batch", "two", "--out", tmp_path / "two", "--known", tmp_path / "one")
        == 0
    )
    assert [page.source for page in PageStore(tmp_path / "two")] == ["b.png"]
    (row,) = json.loads((tmp_path / "two/quarantine.json").read_text())
    assert (row["rule"], row["item"]) == ("page_known", "a.png")


def test_the_label_table_can_be_seen(capsys):
    with pytest.raises(SystemExit) as end:
        ingest("--labels")
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert (
        "Page-header     artifacts at the head" in said
        and "H1, H2" in said
        and "heading" in said
        and "figure" in said
    )
