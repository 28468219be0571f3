"""What does reading a word cost? The parallel head, the decoder with kept keys and values, and without them.

    python bench/decode.py [--words 64] [--rounds 5] [--out FILE]

The heads of the `paper` and `small` profiles with random weights on random features, one core, for words of 8, 16 and
32 characters: the decoders always go to the end. The time is that of the fastest round, in milliseconds a word.
Prints a table to stderr and JSON to stdout.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from reporting import add_out, table, write
from torch import Tensor

from ml.config import TridentConfig, load_profile
from ml.models.charset import SOS, named
from ml.models.trident.reading import Decoder, ParallelReader

LENGTHS = (8, 16, 32)


def uncached(decoder: Decoder, features: Tensor, length: int) -> Tensor:
    """Greedy decoding that computes every earlier character again at each step."""
    memory = decoder.remember(features)
    ids = torch.full((len(features), 1), SOS)
    for _ in range(length):
        ids = torch.cat([ids, decoder(memory, ids)[:, -1:].argmax(-1)], 1)
    return ids[:, 1:]


def cached(decoder: Decoder, features: Tensor, length: int) -> Tensor:
    """Greedy decoding step by step on kept keys and values."""
    memory = decoder.remember(features)
    ids, past = torch.full((len(features), 1), SOS), []
    said = []
    for _ in range(length):
        logits, past = decoder.step(memory, ids, past)
        ids = logits[:, -1:].argmax(-1)
        said.append(ids)
    return torch.cat(said, 1)


def fastest(work: Callable[[], Any], rounds: int) -> float:
    """Seconds of the fastest of some rounds, after one to warm up."""
    work()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def measure(config: TridentConfig, words: int, rounds: int) -> list[dict[str, Any]]:
    """Milliseconds a word of each way to read, for each length."""
    torch.manual_seed(0)
    symbols = len(named(config.charset))
    height, columns = config.roi
    reader = ParallelReader(
        config.channels, height, config.reader_width, config.reader_layers, symbols, columns, 0.0
    ).eval()
    decoder = Decoder(
        config.channels,
        config.roi,
        config.decoder_width,
        config.decoder_layers,
        symbols,
        max(LENGTHS) + 1,
        0.0,
    ).eval()
    features = torch.randn(words, config.channels, height, columns)
    rows = []
    for length in LENGTHS:
        same = torch.equal(uncached(decoder, features, length), cached(decoder, features, length))
        times = {
            "parallel": fastest(lambda: reader(features), rounds),
            "cached": fastest(lambda length=length: cached(decoder, features, length), rounds),
            "uncached": fastest(lambda length=length: uncached(decoder, features, length), rounds),
        }
        row = {name: round(1000 * seconds / words, 3) for name, seconds in times.items()}
        rows.append({"characters": length, **row, "same_text": same})
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--words", type=int, default=64, help="words read together (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    add_out(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    report: dict[str, Any] = {}
    with torch.inference_mode():
        for profile in ("paper", "small"):
            config = load_profile(profile).trident
            report[profile] = measure(config, args.words, args.rounds)
            table(report[profile], title=f"{profile}: milliseconds a word")
    write(report, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
