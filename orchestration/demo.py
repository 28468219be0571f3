"""`scriptorium demo`: the whole main job on sample pages, ending with pages read by a real Triton."""

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path

from ml.config import load_params
from ml.errors import InputError, UsageError
from ml.pages.page import Page
from ml.pages.result import PageResult
from ml.pages.store import PageStore
from orchestration.graph import PIPELINE, StageGraph
from orchestration.land import land
from orchestration.report import Report, figures, render

OUT = Path("demo")
READ_PAGES = 4  # unseen pages that the report shows
READ_OWN = 2  # pages of the person's own batch
RECEIPT, SERVED = Path("metrics/publish.json"), Path("metrics/served.json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pages",
        type=Path,
        metavar="FOLDER",
        help="also your own: PDFs with a text layer, or images with COCO boxes",
    )


def run(args: argparse.Namespace) -> int:
    began = time.monotonic()
    root = Path.cwd()
    prepare(root)
    own = land(root, args.pages).name if args.pages else None
    _say(f"The graph of {PIPELINE}, asset by asset (`dagster dev` shows it, this run included):")
    from orchestration.run import materialise_graph, project_instance  # noqa: PLC0415  (dagster takes seconds)

    with project_instance(root) as instance:
        graph_run = materialise_graph(root, instance)
    for name, reason in graph_run.rejected.items():
        _say(f"  ! batch {name} was left out: {reason} (data/verdicts/{name}/verdict.json)")
    _say("A Triton server on the published models reads pages:")
    pages = read_pages(root, own)
    served = json.loads((root / SERVED).read_text())
    measured = figures(served, graph_run.assets, time.monotonic() - began, len(pages))
    write_report(root, graph_run.run_id, measured, graph_run.assets, pages, list(graph_run.rejected))
    _conclude(measured, len(graph_run.assets))
    return 0


def prepare(root: Path) -> None:
    """See that the graph can run here before minutes are spent on it. Raises UsageError or InputError."""
    from ml.serving.environment import find_environment  # noqa: PLC0415

    if not (root / PIPELINE).is_file():
        raise UsageError(f"{root / PIPELINE}: no such file; run the demo in the project's folder")
    params = root / "params.yaml"
    if not params.exists():
        from ml import config  # noqa: PLC0415

        config.run(argparse.Namespace(name="demo", out=params))
    parameters = load_params(params)
    find_environment()
    _require_published(root, root / parameters.serving.repository)


def _require_published(root: Path, repository: Path) -> None:
    """DVC knows the receipt of a publication, not the repository: where that is gone, publish again."""
    from ml.serving.repository import Repository  # noqa: PLC0415

    try:
        receipt = json.loads((root / RECEIPT).read_text())["models"]
        for name, entry in receipt.items():
            Repository(repository).version(name, int(entry["version"]))
        champions = Repository(repository).champions()
        if all(name in champions for name in receipt):
            return
    except FileNotFoundError:
        return
    except (InputError, ValueError, KeyError, TypeError):
        pass
    for path in (RECEIPT, SERVED):
        (root / path).unlink(missing_ok=True)


def read_pages(root: Path, own: str | None) -> list[tuple[Page, PageResult]]:
    """Start the server; read a few unseen pages, and some of batch `own`, as `scriptorium read` does.

    Leaves the pages in demo/pages and what was read in demo/read.
    """
    from ml.serving.commands.read import open_reader  # noqa: PLC0415
    from ml.serving.documents import pages_of  # noqa: PLC0415
    from ml.serving.formats import FORMATS  # noqa: PLC0415
    from ml.serving.promotion import serve_champions  # noqa: PLC0415
    from ml.serving.repository import Repository  # noqa: PLC0415
    from ml.serving.server import EmbeddedTriton  # noqa: PLC0415

    chosen = _choose(root / "data/snapshot/test", READ_PAGES)
    chosen += _choose(root / "data/batches" / own, READ_OWN) if own else []
    for folder in ("pages", "read"):
        (root / OUT / folder).mkdir(parents=True, exist_ok=True)
    repository = Repository(root / load_params(root / "params.yaml").serving.repository)
    done = []
    with contextlib.ExitStack() as ends:
        server = ends.enter_context(EmbeddedTriton(repository.folder))
        versions = serve_champions(repository, server.control).items()
        _say(f"  {server.url} serves {', '.join(f'{name} version {number}' for name, number in versions)}")
        reader = open_reader(server.url, None, ends)
        for number, page in enumerate(chosen, start=1):
            path = root / OUT / "pages" / f"page-{number}{_suffix(page.image)}"
            path.write_bytes(page.image)
            out = ends.enter_context((root / OUT / "read" / f"page-{number}.json").open("wb"))
            writer = FORMATS["json"].writer(out)
            for document in pages_of(path, 1):
                began = time.monotonic()
                result = reader.read(document.pixels)
                writer.add(document, result)
                done.append((page, result))
                _say(
                    f"  {path.relative_to(root)}: {len(result.words)} words, {time.monotonic() - began:.2f} s"
                )
            writer.close()
    return done


def _choose(store: Path, count: int) -> list[Page]:
    """Pages spread over the store."""
    pages = PageStore(store)
    step = max(1, len(pages) // count)
    return [pages[i] for i in range(0, len(pages), step)][:count]


def _suffix(image: bytes) -> str:
    return ".png" if image.startswith(b"\x89PNG") else ".jpg"


def write_report(
    root: Path,
    run_id: str,
    measured: dict,
    assets: list,
    pages: list[tuple[Page, PageResult]],
    rejected: list[str],
) -> None:
    """demo/report.json and demo/report.html."""
    from orchestration.dvc import read_metrics  # noqa: PLC0415
    from orchestration.pictures import curves  # noqa: PLC0415

    graph = StageGraph.load(root)
    drawn = {
        stage.name: picture
        for stage in graph.values()
        for out in stage.outs
        if out.plot is not None and (picture := curves(root / out.path))
    }
    metrics = {stage.name: values for stage in graph.values() if (values := read_metrics(root, stage))}
    notes = [f"Batch {name} was rejected by its contract and is not in the dataset." for name in rejected]
    report = Report(run_id, measured, assets, metrics, drawn, pages, notes)
    (root / OUT).mkdir(exist_ok=True)
    (root / OUT / "report.json").write_text(json.dumps(measured, indent=1) + "\n")
    (root / OUT / "report.html").write_text(render(report), encoding="utf-8")


def _conclude(measured: dict, assets: int) -> None:
    words, reading = measured["words"] or {}, measured["reading"] or {}
    layout = measured["layout"]
    lines = [
        "",
        f"Done in {measured['seconds']['total']:.0f} s, {len(measured['cached'])} of {assets} assets cached. "
        f"Through the server, on {measured['pages']} unseen pages:",
        f"  word detection F1 {_figure(words.get('f1'))}   character error rate {_figure(reading.get('cer'))}"
        f"   end-to-end F1 {_figure((measured['end_to_end'] or {}).get('f1'))}",
        f"  layout AP50: teacher {_figure(layout['teacher']['ap50'])}"
        f"   student {_figure(layout['student']['ap50'])}",
        "",
        "Made:  demo/report.html (open it in a browser), demo/report.json, demo/read/, models/, graphs/,",
        "       repository/ (the published versions)",
        "Next:  source .venv/bin/activate, then",
        "       dagster dev                      the graph with its metrics, checks and pictures",
        "       scriptorium read FILE...         read your own PDFs and scans",
        "       make demo PAGES=folder           train on your own pages too",
        "       dvc repro                        after a change to params.yaml",
    ]
    _say("\n".join(lines))


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
