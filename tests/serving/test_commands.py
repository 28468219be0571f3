"""The subcommands, as a person or a stage runs them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from ml.cli import main
from ml.config import Params
from ml.pages import Page, Region, Word, page_id
from ml.pages.store import PageWriter
from ml.serving.repository import Repository

from .graphs import REGION_BOX, WORD_BOX, write_dfine, write_trident


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder with default parameters, as the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(Params().model_dump(mode="json")))
    return tmp_path


def gate(**passed: bool) -> Path:
    path = Path("gate.json")
    path.write_text(
        json.dumps(
            {
                "models": {
                    n: {"passed": p, "reasons": [] if p else ["cer 0.9 > 0.6"]} for n, p in passed.items()
                }
            }
        )
    )
    return path


def page_image(path: Path) -> Path:
    Image.new("RGB", (256, 320), "white").save(path)
    return path


def store(folder: Path) -> Path:
    """Two pages on which the toy graph is right about everything."""
    with PageWriter(folder) as writer:
        for shade in (255, 250):
            file = io.BytesIO()
            Image.new("RGB", (256, 256), (shade, shade, shade)).save(file, "PNG")
            image = file.getvalue()
            writer.write(
                Page(
                    page_id(image),
                    f"doc{shade}",
                    256,
                    256,
                    image,
                    (Word(WORD_BOX, "page"),),
                    (Region(REGION_BOX, "Table"),),
                    "synthetic",
                )
            )
    return folder


def test_what_passed_the_gate_is_published_and_the_rest_is_refused_with_the_reason(capsys):
    graphs = [
        str(write_trident(Path("graphs") / name, name[:4])) for name in ("trident", "student", "teacher")
    ]
    code = main(
        [
            "publish",
            *graphs,
            "--gate",
            str(gate(trident=True, student=False)),
            "--receipt",
            "metrics/publish.json",
        ]
    )
    assert code == 0
    receipt = json.loads(Path("metrics/publish.json").read_text())
    digest = Repository(Path("repository")).version("trident", 1).digest
    assert receipt == {"models": {"trident": {"version": 1, "digest": digest}}}
    said = capsys.readouterr().err
    assert "student is not published: the gate refused it (cer 0.9 > 0.6" in said
    assert "teacher is not published: gate.json has no verdict on it" in said


def test_publishing_nothing_is_a_failure(capsys):
    assert (
        main(["publish", str(write_trident(Path("graphs/trident"))), "--gate", str(gate(trident=False))]) == 1
    )


def test_without_verdicts_a_reason_has_to_be_given(capsys):
    graph = str(write_trident(Path("graphs/trident")))
    assert main(["publish", graph]) == 2
    assert main(["publish", graph, "--force", "first start"]) == 0
    assert Repository(Path("repository")).registry().audit[0].note == "forced: first start"


def test_the_served_stage_promotes_the_receipt_and_scores_through_the_server(environment, capsys):
    main(
        [
            "publish",
            str(write_trident(Path("graphs/trident"))),
            "--gate",
            str(gate(trident=True)),
            "--receipt",
            "receipt.json",
        ]
    )
    data = store(Path("test"))
    assert (
        main(["promote", "--receipt", "receipt.json", "--data", str(data), "--out", "metrics/served.json"])
        == 0
    )
    served = json.loads(Path("metrics/served.json").read_text())
    assert served["pages"] == 2
    assert served["words"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0}
    assert served["reading"] == {"cer": 0.0, "exact": 1.0}
    assert served["end_to_end"] == {"f1": 1.0}
    assert served["layout"] == {"trident": {"ap": 1.0, "ap50": 1.0}}
    assert served["models"] == {"trident": 1}
    assert served["latency_ms"]["trident"]["p50"] > 0


def test_a_refused_promotion_ends_in_one_and_names_the_champion_that_stays(environment, capsys):
    main(["publish", str(write_trident(Path("graphs/trident"))), "--force", "a test"])
    main(["publish", str(write_trident(Path("bad/trident"), op="Unknown")), "--force", "a test"])
    assert main(["promote", "trident", "1"]) == 0
    assert main(["promote", "trident", "2"]) == 1
    assert "version 1 stays the champion" in capsys.readouterr().err
    main(["models"])
    assert "champion" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["promote", "trident", "1"], "nothing is published yet"),
        (["promote", "trident"], "give either NAME VERSION or --receipt"),
        (["promote", "--receipt", "none.json"], "no such file; run `scriptorium publish` first"),
        (["rollback", "trident"], "nothing is published yet"),
        (["serve"], "no model has a champion yet"),
        (["read", "page.png"], "no published model 'trident' to read with"),
        (["read", "page.png", "--url", "127.0.0.1:1"], "no Triton server answers at 127.0.0.1:1"),
        (["read", "page.png", "--format", "pdf"], "say where with --out DIR"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence_with_exit_2(command, why, capsys):
    page_image(Path("page.png"))
    assert main(command) == 2
    said = capsys.readouterr().err
    assert why in said and len(said.strip().splitlines()) == 1


def test_read_refuses_bad_files_and_does_the_rest(served, capfdbinary):
    server, _ = served
    Path("fake.pdf").write_text("not a pdf")
    files = [str(page_image(Path("page.png"))), "missing.png", "fake.pdf"]
    assert main(["read", *files, "--url", server.url]) == 1
    out, err = capfdbinary.readouterr()
    (page,) = map(json.loads, out.splitlines())
    assert (page["source"], page["page"], page["width"], page["height"], page["text"]) == (
        "page.png",
        1,
        256,
        320,
        "page",
    )
    assert page["regions"][0]["label"] == "Table"
    assert b"missing.png: no such file" in err and b"fake.pdf: is not a PDF" in err


def test_read_starts_a_server_where_none_runs(served, capfdbinary):
    _, repository = served
    assert (
        main(
            [
                "read",
                str(page_image(Path("page.png"))),
                "--repository",
                str(repository.folder),
                "--format",
                "text",
            ]
        )
        == 0
    )
    assert capfdbinary.readouterr()[0] == b"page\n"


def test_read_writes_one_file_a_page_and_keeps_namesakes_apart(served):
    server, _ = served
    frames = [Image.new("L", (256, 256), 255) for _ in range(2)]
    frames[0].save("scan.tif", save_all=True, append_images=frames[1:])
    Path("b").mkdir()
    files = ["scan.tif", str(page_image(Path("b/scan.png")))]
    assert main(["read", *files, "--url", server.url, "--out", "out"]) == 0
    assert sorted(p.name for p in Path("out").iterdir()) == [
        "scan-0001.json",
        "scan-0002.json",
        "scan-2.json",
    ]
    assert json.loads(Path("out/scan-0002.json").read_text())["page"] == 2


@pytest.mark.parametrize(
    ("format_", "name"),
    [("overlay", "page.png"), ("hocr", "page.hocr.html"), ("alto", "page.alto.xml"), ("pdf", "page.ocr.pdf")],
)
def test_read_writes_every_format(served, format_, name):
    server, _ = served
    assert (
        main(
            [
                "read",
                str(page_image(Path("page.png"))),
                "--url",
                server.url,
                "--format",
                format_,
                "--out",
                "out",
            ]
        )
        == 0
    )
    assert (Path("out") / name).stat().st_size > 100


def test_serve_is_found_by_read_and_rollback_and_ends_on_a_signal(environment, project):
    for text in ("one", "two"):
        main(["publish", str(write_trident(Path(text) / "trident", text)), "--force", "a test"])
    main(["promote", "trident", "1"])
    main(["promote", "trident", "2"])
    command = [sys.executable, "-m", "ml.cli", "serve", "--port", "0"]
    path = {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | path) as server:
        try:
            assert server.stdout is not None
            assert "trident version 2" in server.stdout.readline()
            page_image(Path("page.png"))
            read = [sys.executable, "-m", "ml.cli", "read", "page.png", "--format", "text"]
            texts = []
            for _ in range(2):
                texts.append(
                    subprocess.run(
                        read, capture_output=True, text=True, env=os.environ | path, check=True
                    ).stdout
                )
                main(["rollback", "trident"])
            assert texts == ["two\n", "one\n"]
        finally:
            server.terminate()
        assert server.wait() == 0
    assert not Path("repository/.server.json").exists()


def test_regions_come_from_the_student_where_it_is_served_and_from_whom_is_asked_for(
    environment, capfdbinary
):
    graphs = [write_trident(Path("graphs/trident")), write_dfine(Path("graphs/student"))]
    main(["publish", *map(str, graphs), "--force", "a test", "--receipt", "receipt.json"])
    assert main(["promote", "--receipt", "receipt.json"]) == 0
    page = str(page_image(Path("page.png")))
    capfdbinary.readouterr()
    for options, label in (([], "Picture"), (["--layout", "trident"], "Table")):
        assert main(["read", page, *options]) == 0
        found = json.loads(capfdbinary.readouterr()[0])
        assert ([region["label"] for region in found["regions"]], found["text"]) == ([label], "page")
    assert main(["read", page, "--layout", "teacher"]) == 2


def test_reading_a_page_without_words_gives_an_empty_text(served, capfdbinary):
    server, _ = served
    Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save("dot.png")
    assert main(["read", "dot.png", "--url", server.url]) == 0
    page = json.loads(capfdbinary.readouterr()[0])
    assert (page["width"], page["height"]) == (1, 1)
