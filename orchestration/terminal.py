"""What a person at a terminal sees of a run: a line when a stage begins, a line when it is done."""

import sys

from orchestration.dvc import StageRun

#: Figures shown in a stage's closing line; `meta.figures` in dvc.yaml chooses others than the first.
FIGURES = 4


def announce(name: str) -> None:
    _say(f"  … {name}")


def conclude(name: str, run: StageRun | None = None, failed: str = "") -> None:
    """The closing line of a stage: cached or its seconds, and its key figures; or why it failed."""
    if run is None:
        _say(f"  ✗ {name:<18} {failed}")
        return
    how = "cached" if run.cached else f"{run.seconds:.1f} s"
    _say(f"  ✓ {name:<18} {how:>8}  {figures(run)}".rstrip())


def figures(run: StageRun) -> str:
    """The stage's key figures: "words.f1 0.912, pages 320"."""
    wanted = run.stage.meta.get("figures") or list(run.metrics)[:FIGURES]
    return ", ".join(f"{name} {_short(run.metrics[name])}" for name in wanted if name in run.metrics)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e12 else f"{value:.3g}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
