"""One training of Trident, alone or taught by a teacher: from its first weights to the checkpoint and its figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ml.config import Params
from ml.pages.store import PageStore
from ml.progress import say
from ml.training.checkpoint import save
from ml.training.engine import Steps, fit
from ml.training.replay import comparison, figures, flat
from ml.training.start import start_from
from ml.training.train import snapshot_digest, write_metrics
from ml.training.trident import TridentSystem, card, word_threshold


def fit_trident(
    name: str,
    system: TridentSystem,
    steps: Steps,
    params: Params,
    *,
    data: Path,
    val: PageStore,
    out: Path,
    start: Path | None,
    metrics: Path,
    state: Path,
    workers: int,
    golden: Mapping[str, PageStore] | None = None,
) -> None:
    """Train `system` on `steps` and write its checkpoint to `out`, its figures as `name` into `metrics`.

    It begins from the checkpoint `start`, or from its random weights. The words' threshold is found on `val`, pages
    of the dataset `data`. What is read of the sets in `golden` is measured before and after.
    """
    counts = system.network.parameter_counts()
    parts = ", ".join(f"{part} {n / 1e6:.2f} M" for part, n in counts.items())
    say(f"{name}: {parts}; {sum(counts.values()) / 1e6:.2f} M in all")
    if start:
        say(f"{name}: starts with {start_from(system.network, start)}")
        system.started = True
    before = figures(system.network, card(system.network, "", {}), golden) if golden else {}
    log = metrics / f"{name}.csv"
    training = params.trident.training
    summary = fit(system, steps, training, seed=params.seed, state=state, log=log, what=name, workers=workers)
    network = system.release()
    model_card = card(network, snapshot_digest(data), summary.metrics)
    model_card["thresholds"]["word"] = word_threshold(network, model_card, val)
    compared: dict[str, float] = {}
    if golden:
        after = figures(network, model_card, golden)
        print(f"what fine-tuning changed:\n{comparison(before, after)}")
        compared = flat({"before": before, "after": after})
    save(out, network, model_card)
    size = sum(network.parameter_counts().values())
    write_metrics(
        metrics / f"{name}.json", summary.metrics | compared, best_step=summary.best_step, parameters=size
    )
    told = ", ".join(f"{key} {value:.3f}" for key, value in summary.metrics.items())
    print(f"{out}: {size / 1e6:.2f} M, best at step {summary.best_step} of {summary.steps}, {told}")
