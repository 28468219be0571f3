"""One training engine for every model: Lightning Fabric for precision and devices, and a loop that can be resumed.

Everything random in step k is drawn from (seed, k): the batch, its augmentation, dropout. So a run that was
killed and started again computes the same numbers as one that never stopped, and two runs with one seed on one
kind of CPU give the same bytes.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ml.config import TrainingConfig
from ml.errors import InputError
from ml.progress import Meter
from ml.training.state import load_state, save_state

Batch = Any  # a tree of tensors, as the system's own Steps make it


class Steps(Dataset):
    """The data of a training, addressed by optimizer micro-step: `steps[k]` is batch k, a function of (seed, k)."""

    def __getitem__(self, step: int) -> Batch:
        raise NotImplementedError("abstract")

    def validation(self) -> Iterable[Batch]:
        """The held-out batches, always the same."""
        raise NotImplementedError("abstract")


class System(Protocol):
    """A network with its losses. An nn.Module whose `network` is what gets saved."""

    @property
    def network(self) -> nn.Module:
        """What is trained and saved."""
        ...

    @property
    def selection(self) -> tuple[str, Literal["min", "max"]]:
        """The validation figure that picks the best weights, and which way it is better."""
        ...

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """'total', which is descended, and its parts, which are shown."""
        ...

    def validate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Figures on held-out batches; must hold the one that `selection` names."""
        ...


@dataclass(frozen=True)
class FitSummary:
    """What a training came to."""

    steps: int
    best_step: int
    metrics: dict[str, float]  # of the best validation
    seconds: float  # of this process; a resumed run counts from its restart
    resumed_from: int


class Schedule:
    """Linear warm-up, then cosine to `lr_min` (Loshchilov & Hutter 2017); factor of step k on the peak rate."""

    def __init__(self, config: TrainingConfig) -> None:
        self.steps, self.floor = config.steps, config.lr_min / config.lr
        self.warm = max(1, round(config.warmup * config.steps))

    def __call__(self, step: int) -> float:
        if step < self.warm:
            return (step + 1) / self.warm
        progress = (step - self.warm) / max(1, self.steps - self.warm)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def parameter_groups(network: nn.Module, config: TrainingConfig) -> list[dict[str, Any]]:
    """AdamW groups: backbone (by the name `backbone`) and rest, each with decay for weights and none for norms and biases."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            key = ("backbone" in name.split("."), parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": config.weight_decay if decayed else 0.0,
            "peak": config.lr * (config.lr_backbone if backbone else 1.0),
        }
        for (backbone, decayed), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]


class Average:
    """Exponential moving average of the weights, with a warm-up so that early steps do not linger."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {k: v.detach().clone() for k, v in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            mean = self.values[name]
            if value.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)


def _better(value: float, best: float | None, mode: str) -> bool:
    return best is None or (value < best if mode == "min" else value > best)


class _Log:
    """A CSV of losses, truncated to the resumed step, from which curves are drawn."""

    def __init__(self, path: Path, start: int) -> None:
        self.path, self.rows = path, []
        path.parent.mkdir(parents=True, exist_ok=True)
        if start and path.exists():
            with path.open(newline="", encoding="utf-8") as handle:
                self.rows = [row for row in csv.DictReader(handle) if int(row["step"]) <= start]

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})

    def write(self) -> None:
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        with self.path.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, columns, restval="")
            writer.writeheader()
            writer.writerows(self.rows)


def _lay_out_as_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Give loaded moments the memory layout of their weights.

    Files keep tensors contiguous; fused AdamW walks weights and moments by address, so under channels_last it would
    pair each weight with the moments of another.
    """
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            if value.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter).copy_(value)


def _not_finite(what: str, state: Path, row: dict[str, Any], batches: list[Batch]) -> InputError:
    """Keep a step's losses and batches beside `state`, to be studied with `load_state`; the error that tells of it."""
    folder = state.with_name(f"{state.name}.not-finite")
    save_state(folder, {**row, "batches": batches})
    return InputError(
        f"{what}: at step {row['step']} the loss is {row['loss']:.6g} and the gradient norm {row['grad_norm']:.6g}; "
        f"lower `lr`, or train with precision 32-true (the step's batch is in {folder})"
    )


def _loader(steps: Steps, start: int, end: int, workers: int) -> DataLoader:
    return DataLoader(
        steps,
        batch_size=None,
        sampler=range(start, end),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        # Workers only decode and crop; forked ones share the page store's memory and start at once.
        multiprocessing_context="fork" if workers else None,
    )


def fit(  # noqa: PLR0915  (the loop is the one thing to read whole)
    system: System,
    steps: Steps,
    config: TrainingConfig,
    *,
    seed: int,
    state: Path,
    log: Path,
    what: str = "training",
    workers: int = 1,
) -> FitSummary:
    """Train `system.network` for `config.steps` steps, resuming from `state` where there is one.

    Leaves the best weights (averaged, if `config.ema`) in `system.network`. Raises InputError on a loss or a
    gradient norm that is not finite; it names the step and the folder, beside `state`, that keeps its batches.
    """
    began = time.monotonic()
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Deterministic mode also fills every new tensor, to expose reads of uninitialised memory: 5 % of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    fabric = Fabric(accelerator="auto", devices="auto" if torch.cuda.is_available() else 1)
    fabric.launch()

    def autocast() -> torch.autocast:
        """bfloat16 for the network only: Fabric's own precision would round the batch's boxes too, by pixels."""
        return torch.autocast(fabric.device.type, torch.bfloat16, enabled=config.precision == "bf16-mixed")

    network = system.network
    optimizer = torch.optim.AdamW(
        parameter_groups(network, config), lr=config.lr, betas=(0.9, 0.999), eps=1e-8, fused=True
    )
    module, optimizer = fabric.setup(system, optimizer, move_to_device=True)  # type: ignore[arg-type]
    module.mark_forward_method("loss")
    schedule = Schedule(config)
    average = Average(network, config.ema) if config.ema else None
    metric, mode = system.selection
    best: dict[str, Any] = {"step": 0, "value": None, "metrics": {}, "weights": {}}
    start, stale = 0, 0

    saved = load_state(state)
    if saved is not None:
        start, stale, best = saved["step"], saved["stale"], saved["best"]
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        _lay_out_as_parameters(optimizer)
        if average:
            average.values = saved["average"]
        fabric.print(f"{what}: going on from step {start}")

    def keep(step: int) -> None:
        save_state(
            state,
            {
                "step": step,
                "stale": stale,
                "best": best,
                "network": network.state_dict(),
                "optimizer": optimizer.state_dict(),
                "average": average.values if average else {},
            },
        )
        curve.write()

    def validated(step: int) -> dict[str, float]:
        """Validate with the averaged weights, then put the live ones back."""
        nonlocal best, stale
        live = {k: v.detach().clone() for k, v in network.state_dict().items()}
        if average:
            network.load_state_dict(average.values)
        network.eval()
        with torch.no_grad(), autocast():
            figures = system.validate(fabric.to_device(batch) for batch in steps.validation())
        if _better(figures[metric], best["value"], mode):
            weights = {k: v.detach().clone() for k, v in network.state_dict().items()}
            best, stale = {"step": step, "value": figures[metric], "metrics": figures, "weights": weights}, 0
        else:
            stale += 1
        network.load_state_dict(live)
        network.train()
        return figures

    network.train()
    curve = _Log(log, start)
    micro = config.accumulate
    batches = iter(_loader(steps, start * micro, config.steps * micro, workers))
    with Meter(
        config.steps * micro * config.batch, what, "pages", done=start * micro * config.batch
    ) as meter:
        for step in range(start, config.steps):
            if config.patience and stale >= config.patience:
                break
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * schedule(step)
            torch.manual_seed(seed * 1_000_003 + step)
            row: dict[str, Any] = {"step": step + 1, "lr": optimizer.param_groups[-1]["lr"]}
            taken = [next(batches) for _ in range(micro)]
            for part, batch in enumerate(taken):
                with fabric.no_backward_sync(module, enabled=part < micro - 1):
                    with autocast():
                        losses = module.loss(fabric.to_device(batch))
                    fabric.backward(losses["total"] / micro)
                for name, value in losses.items():
                    key = "loss" if name == "total" else name
                    row[key] = row.get(key, 0.0) + float(value.detach()) / micro
            norm = fabric.clip_gradients(module, optimizer, max_norm=config.clip, error_if_nonfinite=False)
            row["grad_norm"] = float(norm)  # pyright: ignore[reportArgumentType]  (None only of other strategies)
            if not (math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"])):
                raise _not_finite(what, state, row, taken)
            optimizer.step()
            optimizer.zero_grad()
            if average:
                average.update(network, step)
            done = step + 1
            if done % config.evaluate_every == 0 or done == config.steps:
                row |= {f"val_{k}": v for k, v in validated(done).items()}
            curve.add(row)
            if done % config.save_every == 0 or done == config.steps:
                keep(done)
            meter.update(micro * config.batch, f"loss {row['loss']:.3f}")
    curve.write()
    network.load_state_dict(best["weights"])
    network.eval()
    return FitSummary(
        steps=config.steps,
        best_step=best["step"],
        metrics=best["metrics"],
        seconds=time.monotonic() - began,
        resumed_from=start,
    )
