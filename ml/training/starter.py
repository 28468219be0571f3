"""Packing a trained Trident as starter weights: float16, a card, and a page that says how they were made.

python -m ml.training.starter models/trident --scores metrics/evaluate_trident.json --real real.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ml.errors import InputError
from ml.training.checkpoint import load, save

STARTER = Path("starters") / "trident-small"
MOST_BYTES = 16_000_000
REAL = "python bench/read_real.py SAMPLES graphs/trident --rapidocr PYTHON"

PAGE = """# Trident small: starter weights

One network that finds words, reads them and finds regions, {parameters:.1f} M parameters, for CPUs. `scriptorium train
trident` starts from these weights where the network is built alike (`--from-scratch` refuses them).

| | |
|---|---|
| Weights | `model.safetensors`, float16, {megabytes:.1f} MB |
| Charset | {charset} characters: Latin-script European languages |
| Reads | letters {text_px:g} px tall; pages are scaled to that |
| Data | {pages} |
| Made by | `make starter` (profile `small`, digest of the data `{data}`) |
| Training | {training} |
| Licence | Apache-2.0, as the project; no real page and no other weights went into it |

## What it reads

{tables}

Word F1 counts boxes at an IoU of at least 0.5; end-to-end F1 also asks for the whole text; CER is edits per character.

## What it is not good at

Handwriting, scripts other than Latin, text that runs upwards, photographs of scenes.
"""


def pack(model: Path, out: Path, scores: dict[str, Any], real: dict[str, Any], told: dict[str, str]) -> Path:
    """Write the starter folder. Raises InputError where the weights are larger than a repository should hold."""
    network, card = load(model)
    figures = {k: scores[k] for k in ("words", "reading", "end_to_end") if k in scores}
    card |= {"scores": figures}
    save(out, network, card, half=True)
    size = (out / "model.safetensors").stat().st_size
    if size > MOST_BYTES:
        raise InputError(f"{out}: {size / 1e6:.1f} MB of weights; a starter may have {MOST_BYTES / 1e6:.0f}")
    text = PAGE.format(
        parameters=sum(p.numel() for p in network.parameters()) / 1e6,
        megabytes=size / 1e6,
        charset=len(card["charset"]),
        text_px=card["preprocess"]["text_px"],
        data=str(card["data"])[:12],
        tables="\n\n".join(part for part in (_own(scores), _real(real)) if part),
        **told,
    )
    (out / "README.md").write_text(text, encoding="utf-8")
    return out


def _own(scores: dict[str, Any]) -> str:
    words, reading = scores["words"], scores["reading"]
    return (
        f"Synthetic pages that no training saw ({scores['pages']} pages, "
        "`scriptorium evaluate graphs/trident data/snapshot/test`):\n\n"
        "| word F1 | CER on true boxes | end-to-end F1 |\n|---|---|---|\n"
        f"| {words['f1']:.3f} | {reading['cer']:.3f} | {scores['end_to_end']['f1']:.3f} |"
    )


def _real(real: dict[str, Any]) -> str:
    """The groups of `bench/read_real.py`, every engine a row."""
    rows = [
        f"| {group} | {engine} | {row['pages']} | {row['seconds']} | {row.get('word_f1', '')} "
        f"| {row.get('end_to_end_f1', '')} | {row.get('cer', '')} |"
        for group, engines in real.get("groups", {}).items()
        if not any(mark in group for mark in (".pdf#", ".tif", ".xml", ".json"))
        for engine, row in engines.items()
    ]
    if not rows:
        return ""
    memory = ", ".join(f"{name} {value} MB" for name, value in real["peak_megabytes"].items())
    head = "| pages | engine | pages | s a page | word F1 | end-to-end F1 | CER |\n|---|---|---|---|---|---|---|\n"
    return f"Real pages (`{REAL}`, two cores; peak memory: {memory}):\n\n" + head + "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="checkpoint folder")
    parser.add_argument("--out", type=Path, default=STARTER, metavar="DIR", help="default: %(default)s")
    parser.add_argument(
        "--scores", type=Path, required=True, metavar="JSON", help="of `scriptorium evaluate`"
    )
    parser.add_argument("--real", type=Path, metavar="JSON", help="of bench/read_real.py")
    parser.add_argument(
        "--pages", default="synthetic pages of `scriptorium synth`", help="what it learned from"
    )
    parser.add_argument("--training", default="see profiles/small.yaml", help="steps, machine and time")
    args = parser.parse_args()
    try:
        scores = json.loads(args.scores.read_text(encoding="utf-8"))
        real = json.loads(args.real.read_text(encoding="utf-8")) if args.real else {}
        pack(args.model, args.out, scores, real, {"pages": args.pages, "training": args.training})
    except InputError as error:
        parser.error(str(error))
    print(f"{args.out}: packed")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
