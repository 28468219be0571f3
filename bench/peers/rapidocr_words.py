"""Reads page images with RapidOCR, in the environment where it is installed.

    PYTHON rapidocr_words.py PAGE.png ... > words.jsonl

For each page one JSON line: its words with boxes, its lines' text in the engine's order, seconds; the last line
holds the peak memory. The classifier that turns lines by 180 degrees is off: it turns upright lines over.
"""

from __future__ import annotations

import json
import resource
import sys
import time

import cv2
from rapidocr import RapidOCR


def main() -> None:
    engine = RapidOCR(params={"Global.log_level": "error", "Global.use_cls": False})
    for path in sys.argv[1:]:
        page = cv2.imread(path)
        began = time.perf_counter()
        result = engine(page, use_cls=False, return_word_box=True)
        seconds = time.perf_counter() - began
        words = [
            {"text": text, "box": hull(box), "score": float(score)}
            for line in result.word_results or ()
            for text, score, box in line
        ]
        print(json.dumps({"words": words, "text": "\n".join(result.txts or ()), "seconds": seconds}))
    print(json.dumps({"megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def hull(corners) -> list[float]:
    """x1, y1, x2, y2 around four corners."""
    xs, ys = [float(x) for x, _ in corners], [float(y) for _, y in corners]
    return [min(xs), min(ys), max(xs), max(ys)]


if __name__ == "__main__":
    main()
