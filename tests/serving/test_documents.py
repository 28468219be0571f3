from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml.errors import InputError
from ml.pages.result import PageResult
from ml.serving import documents
from ml.serving.documents import SourcePage, pages_of
from ml.serving.formats import FORMATS

SAMPLES = Path(
    os.environ.get("SCRIPTORIUM_SAMPLES") or Path(__file__).parents[2] / ".." / "shared" / "samples"
)


def pdf(path: Path, pages: int = 1, width: int = 300, height: int = 400) -> Path:
    file = io.BytesIO()
    writer = FORMATS["pdf"].writer(file)
    for i in range(pages):
        pixels = np.full((height, width, 3), 40 * i % 256, np.uint8)
        writer.add(SourcePage("x", i + 1, pages, pixels), PageResult(width, height))
    writer.close()
    path.write_bytes(file.getvalue())
    return path


def test_pdf_pages_come_in_order_at_144_dpi(tmp_path):
    pages = list(pages_of(pdf(tmp_path / "a.pdf", pages=3)))
    assert [(p.number, p.pages, p.pixels.shape) for p in pages] == [(i, 3, (400, 300, 3)) for i in (1, 2, 3)]
    assert [int(p.pixels.mean().round()) for p in pages] == [0, 40, 80]


def test_images_keep_their_pixels_and_their_colours(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 30, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (page,) = pages_of(tmp_path / "a.png")
    assert (page.pixels == pixels).all()


def test_a_photograph_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.new("RGB", (60, 20)).save(tmp_path / "a.jpg", exif=exif)
    (page,) = pages_of(tmp_path / "a.jpg")
    assert page.pixels.shape == (60, 20, 3)


def test_a_tiff_of_several_pages_gives_them_all(tmp_path):
    frames = [Image.new("L", (20 + i, 30), 100) for i in range(3)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    assert [p.pixels.shape for p in pages_of(tmp_path / "a.tif")] == [(30, 20, 3), (30, 21, 3), (30, 22, 3)]


def test_what_is_transparent_is_white_as_paper(tmp_path):
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(tmp_path / "a.png")
    (page,) = pages_of(tmp_path / "a.png")
    assert (page.pixels == 255).all()


def encrypted(path: Path) -> Path:
    whole = pdf(path).read_bytes()
    lock = (
        b"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <" + b"41" * 32 + b"> /U <" + b"42" * 32 + b"> >>"
    )
    path.write_bytes(whole.replace(b"/Info", lock + b" /ID [<01> <01>] /Info"))
    return path


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.pdf", b"plain text", "is not a PDF"),
        ("a.pdf", b"%PDF-1.7\nbut nothing more", "not a readable PDF"),
        ("a.png", b"plain text", "neither a PDF nor a readable image"),
        ("a.png", b"", "is empty"),
        ("a.png", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR cut", "neither a PDF nor|damaged image"),
    ],
)
def test_a_bad_file_is_refused_with_its_name_and_why(tmp_path, name, content, why):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: .*({why})"):
        list(pages_of(tmp_path / name))


def test_a_cut_image_is_refused(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:5000])
    with pytest.raises(InputError, match="damaged image"):
        list(pages_of(tmp_path / "a.png"))


def test_missing_files_folders_and_encrypted_pdfs_are_refused(tmp_path):
    for path, why in (
        (tmp_path / "none.pdf", "no such file"),
        (tmp_path, "is a folder"),
        (encrypted(tmp_path / "locked.pdf"), "encrypted"),
    ):
        with pytest.raises(InputError, match=why):
            list(pages_of(path))


def test_pages_over_the_limit_are_left_out_and_said(tmp_path):
    pages = pages_of(pdf(tmp_path / "a.pdf", pages=4), max_pages=2)
    assert [next(pages).number, next(pages).number] == [1, 2]
    with pytest.raises(InputError, match="has 4 pages, of which the first 2 were read"):
        next(pages)
    assert len(list(pages_of(pdf(tmp_path / "b.pdf", pages=2), max_pages=2))) == 2


def test_a_large_image_is_refused_and_a_large_pdf_page_drawn_smaller(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "MAX_PIXELS", 10_000)
    Image.new("L", (101, 100)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="101 x 100 is over 10,000 pixels"):
        list(pages_of(tmp_path / "a.png"))
    (page,) = pages_of(pdf(tmp_path / "a.pdf"))
    assert page.pixels.shape[0] * page.pixels.shape[1] <= 11_000


def test_a_page_that_takes_too_long_ends_the_file_and_not_the_reader(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "PAGE_SECONDS", 0.0)
    with pytest.raises(InputError, match=r"took over 0\.0 s to draw"):
        list(pages_of(pdf(tmp_path / "a.pdf")))


def test_leaving_a_document_early_leaves_no_process(tmp_path):
    pages = pages_of(pdf(tmp_path / "a.pdf", pages=20))
    next(pages)
    pages.close()  # type: ignore[attr-defined]
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    assert not any(
        "render.py" in Path(f"/proc/{pid}/cmdline").read_text() for pid in children.read_text().split()
    )


@pytest.mark.real
@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample pages are not here")
def test_every_sample_pdf_can_be_drawn():
    for path in sorted((SAMPLES / "pdf").glob("*.pdf")):
        assert [page.number for page in pages_of(path, max_pages=10)], path
