"""How well and how fast are real pages read? The served Trident beside Tesseract and RapidOCR, in one run.

    python bench/read_real.py SAMPLES graphs/trident [--rapidocr PYTHON] [--limit N] [--lean DEGREES] [--out FILE]

SAMPLES holds pdf/*.pdf (truth: the text layer), forms/{images,annotations} (FUNSD) and scans/* (an image beside its
.txt or ALTO .xml). Pages of PDFs are drawn at 144 dpi. Every engine gets the same pixels. Words count when text and
place are right: IoU of at least 0.5, every engine's boxes first drawn together to the ink in them, because engines
differ in how much air they leave. "text_f1" asks for the text alone, wherever it stands; with --lean it is the only one,
since an upright box around a leaning word holds its neighbours too. The text of a page, spaces and line ends as one
space, gives its character error rate (CER). Tesseract runs as its command on one core, RapidOCR in the environment
whose Python is given (`uv pip install rapidocr onnxruntime`); without them their columns are missing. Tables go to
stderr, JSON to stdout.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from reporting import add_out, table, write

from ml.config import ServingConfig
from ml.evaluation.detection import DetectionCounts, count_words
from ml.evaluation.text import levenshtein
from ml.pages.orientation import turned
from ml.pages.page import Box, Page, Word
from ml.pages.readers.datasets import read_funsd
from ml.pages.readers.pdf import PdfLimits, document_pages
from ml.pages.readers.pdf_words import tighten
from ml.pages.readers.xml_trees import read_alto
from ml.pages.result import ReadWord
from ml.progress import track
from ml.serving.client import ServedPredictor
from ml.serving.promotion import promote
from ml.serving.repository import Repository
from ml.serving.server import EmbeddedTriton

PEER = Path(__file__).parent / "peers" / "rapidocr_words.py"


@dataclass
class Sample:
    """A page with what is known of it: its words, its text, or both."""

    group: str
    name: str
    pixels: np.ndarray
    words: list[Word] | None
    text: str | None
    upright: bool = True


@dataclass
class Reading:
    """What an engine made of a page."""

    words: list[ReadWord]
    text: str
    seconds: float


@dataclass
class Score:
    """Sums over pages."""

    pages: int = 0
    seconds: list[float] = field(default_factory=list)
    found: DetectionCounts = field(default_factory=DetectionCounts)
    right: DetectionCounts = field(default_factory=DetectionCounts)
    texts: DetectionCounts = field(default_factory=DetectionCounts)
    edits: int = 0
    characters: int = 0

    def add(self, sample: Sample, reading: Reading) -> None:
        self.pages += 1
        self.seconds.append(reading.seconds)
        if sample.words is not None:
            truth, found = (Counter(word.text for word in words) for words in (sample.words, reading.words))
            self.texts += DetectionCounts(truth.total(), found.total(), (truth & found).total())
        if sample.words is not None and sample.upright:
            gray = cv2.cvtColor(sample.pixels, cv2.COLOR_RGB2GRAY)
            found, right = count_words(sample.words, [_tight(gray, word) for word in reading.words])
            self.found, self.right = self.found + found, self.right + right
        if sample.text is not None:
            self.edits += levenshtein(_flat(sample.text), _flat(reading.text))
            self.characters += len(_flat(sample.text))

    def row(self) -> dict[str, Any]:
        row: dict[str, Any] = {"pages": self.pages, "seconds": round(float(np.median(self.seconds)), 2)}
        if self.found.truth:
            row |= {"word_f1": round(self.found.f1, 4), "end_to_end_f1": round(self.right.f1, 4)}
        if self.texts.truth:
            row["text_f1"] = round(self.texts.f1, 4)
        if self.characters:
            row["cer"] = round(self.edits / self.characters, 4)
        return row


def _flat(text: str) -> str:
    return " ".join(text.split())


def _tight(gray: np.ndarray, word: ReadWord) -> ReadWord:
    return ReadWord(tighten(gray, word.box) or word.box, word.text, word.score)


def samples_of(folder: Path, limit: int) -> Iterator[Sample]:
    """The annotated pages below `folder`, at most `limit` of a file."""
    for path in sorted((folder / "pdf").glob("*.pdf")):
        for number, page in enumerate(document_pages(path, path.name, PdfLimits(dpi=144))):
            if isinstance(page, Page) and number < limit and page.words:
                words = [word for word in page.words if word.text]
                yield Sample("pdf", page.source, page.pixels(), words, None)
    for group, reader in (("forms", read_funsd), ("scans", read_alto)):
        if not (folder / group).is_dir():
            continue
        for page in reader(folder / group):
            if isinstance(page, Page) and page.words:
                words = [word for word in page.words if word.text]
                if group == "forms":
                    yield Sample("forms", page.source, page.pixels(), words, None)
                else:
                    text = " ".join(word.text for word in words)
                    yield Sample("typescript", page.source, page.pixels(), None, text)
    for path in sorted((folder / "scans").glob("*.txt")):
        image = path.with_suffix(".tif")
        if image.exists():
            with Image.open(image) as opened:
                pixels = np.asarray(opened.convert("RGB"))
            yield Sample("scans", image.name, pixels, None, path.read_text(encoding="utf-8"))


def tesseract(page: Path) -> tuple[Reading, float]:
    """Words and text by the command, and its peak megabytes."""
    began = time.perf_counter()
    command = ["tesseract", str(page), "-", "tsv"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_THREAD_LIMIT": "1"}
    ) as process:
        assert process.stdout is not None
        output = process.stdout.read().decode()
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
    seconds = time.perf_counter() - began
    words, lines = [], {}
    for row in csv.DictReader(io.StringIO(output), delimiter="\t", quoting=csv.QUOTE_NONE):
        if row["level"] == "5" and (row["text"] or "").strip():
            x, y, w, h = (float(row[key]) for key in ("left", "top", "width", "height"))
            words.append(ReadWord((x, y, x + w, y + h), row["text"], float(row["conf"]) / 100))
            lines.setdefault(tuple(row[k] for k in ("block_num", "par_num", "line_num")), []).append(
                row["text"]
            )
    return Reading(
        words, "\n".join(" ".join(line) for line in lines.values()), seconds
    ), usage.ru_maxrss / 1024


def rapidocr(python: str, pages: list[Path]) -> tuple[list[Reading], float]:
    """All pages by one process of the peer's environment, and its peak megabytes."""
    done = subprocess.run([python, str(PEER), *map(str, pages)], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"RapidOCR ended with {done.returncode}: {done.stderr[-500:]}")
    *lines, last = (json.loads(line) for line in done.stdout.splitlines())
    readings = [
        Reading(
            [ReadWord(_box(word["box"]), word["text"], word["score"]) for word in line["words"]],
            line["text"],
            line["seconds"],
        )
        for line in lines
    ]
    return readings, last["megabytes"]


def _box(values: list[float]) -> Box:
    x1, y1, x2, y2 = values
    return x1, y1, x2, y2


def peak_megabytes(process: int) -> float:
    """Peak resident memory of a process and of all below it, in Linux' own count, added up."""
    total, waiting = 0.0, [process]
    while waiting:
        number = waiting.pop()
        status = Path(f"/proc/{number}/status").read_text(encoding="ascii")
        total += int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
        for task in Path(f"/proc/{number}/task").iterdir():
            waiting += map(int, (task / "children").read_text(encoding="ascii").split())
    return total


def served(graph: Path, home: Path, read_all: Callable[[ServedPredictor], None]) -> float:
    """Publish and serve `graph`, let `read_all` use it, and return the server's peak megabytes."""
    repository = Repository(home / "repository")
    repository.publish(graph, "trident", ServingConfig())
    with EmbeddedTriton(repository.folder, logs=home / "logs") as server:
        promote(repository, "trident", 1, server.control)
        reader = ServedPredictor(server.url, "trident")
        read_all(reader)
        reader.close()
        return peak_megabytes(server.pid)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("samples", type=Path, help="folder of annotated pages")
    parser.add_argument("graph", type=Path, help="exported Trident")
    parser.add_argument("--rapidocr", metavar="PYTHON", help="Python of an environment with rapidocr")
    parser.add_argument("--limit", type=int, default=3, help="pages a PDF at most (default: %(default)s)")
    parser.add_argument(
        "--lean",
        type=float,
        default=0.0,
        metavar="DEGREES",
        help="turn every page counter-clockwise by so much before any engine sees it",
    )
    add_out(parser)
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="draw what Trident found, a PNG a page")
    args = parser.parse_args()
    samples = list(samples_of(args.samples, args.limit))
    if not samples:
        parser.error(f"{args.samples}: no annotated pages; see --help")
    if args.lean:
        samples = [
            replace(sample, pixels=turned(sample.pixels, args.lean), upright=False) for sample in samples
        ]
    scores: dict[str, dict[str, Score]] = {}
    memory: dict[str, float] = {}

    def count(engine: str, sample: Sample, reading: Reading) -> None:
        for group in (sample.group, f"  {sample.name}"):
            scores.setdefault(group, {}).setdefault(engine, Score()).add(sample, reading)

    def trident(reader: ServedPredictor) -> None:
        for sample in track(samples, len(samples), "trident"):
            reader.read(sample.pixels)  # the first request sets up memory for its shape
            began = time.perf_counter()
            result = reader.read(sample.pixels)
            seconds = time.perf_counter() - began
            count("trident", sample, Reading(list(result.words), result.text, seconds))
            if args.pictures:
                draw(args.pictures, sample, list(result.words))

    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        pages = [home / f"{number}.png" for number in range(len(samples))]
        for path, sample in zip(pages, samples, strict=True):
            Image.fromarray(sample.pixels).save(path)
        memory["trident"] = served(args.graph, home, trident)
        if shutil.which("tesseract"):
            for path, sample in track(zip(pages, samples, strict=True), len(pages), "tesseract"):
                reading, peak = tesseract(path)
                count("tesseract", sample, reading)
                memory["tesseract"] = max(peak, memory.get("tesseract", 0.0))
        if args.rapidocr:
            readings, memory["rapidocr"] = rapidocr(args.rapidocr, pages)
            for reading, sample in zip(readings, samples, strict=True):
                count("rapidocr", sample, reading)
    report = {
        "peak_megabytes": {name: round(value) for name, value in memory.items()},
        "groups": {
            group.strip(): {engine: score.row() for engine, score in rows.items()}
            for group, rows in scores.items()
        },
    }
    shown = ("pages", "seconds", "word_f1", "end_to_end_f1", "text_f1", "cer")
    found = [
        {"group": group, "engine": engine} | {key: score.row().get(key) for key in shown}
        for group, rows in sorted(scores.items(), key=lambda item: item[0].startswith(" "))
        for engine, score in rows.items()
    ]
    table(found, title=f"peak memory, MB: {report['peak_megabytes']}")
    write(report, args.out)
    return 0


def draw(folder: Path, sample: Sample, words: list[ReadWord]) -> None:
    """The page with the words that were found: green where the text is right, red elsewhere, grey without truth."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = sample.pixels.copy()
    known = {word.text for word in sample.words or ()}
    for word in words:
        x1, y1, x2, y2 = (round(v) for v in word.box)
        color = (
            (150, 150, 150) if sample.words is None else (0, 160, 0) if word.text in known else (220, 0, 0)
        )
        cv2.rectangle(picture, (x1 - 1, y1 - 1), (x2, y2), color, 1)
        text = word.text.encode("ascii", "replace").decode()
        cv2.putText(picture, text, (x1, y1 - 2), cv2.FONT_HERSHEY_SIMPLEX, 0.33, (0, 0, 220), 1, cv2.LINE_AA)
    Image.fromarray(picture).save(folder / f"{sample.group}-{sample.name.replace('/', '_')}.png")


if __name__ == "__main__":
    sys.exit(main())
