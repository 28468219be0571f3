"""One training engine for every model: Lightning Fabric for precision and devices, and a loop that can be resumed.

Everything random in step k is drawn from (seed, k): the batch, its augmentation, dropout. So a run that was
killed and started again computes the same numbers as one that never stopped, and two runs with one seed on one
kind of CPU give the same bytes.

Under `torchrun` each process takes its share of the batches (process r of W: batches r, W + r, 2 W + r ...) and
gradients are averaged; the first process alone validates, and writes and shows everything.
"""

from __future__ import annotations

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
from ml.training.distributed import leave_unless_first, open_fabric
from ml.training.report import Report, Silence
from ml.training.state import load_state, save_state

#: A tree of tensors, as the system's own Steps make it. A dict may tell how many words it holds, as 'words'.
Batch = Any


class Steps(Dataset):
    """The data of a training: `steps[k]` is batch k, a function of (seed, k)."""

    def __getitem__(self, step: int) -> Batch:
        raise NotImplementedError("abstract")

    def validation(self) -> Iterable[Batch]:
        """The held-out batches, always the same."""
        raise NotImplementedError("abstract")


class System(Protocol):
    """A network with its losses. An nn.Module whose `network` is what gets saved."""

    #: Share of the training that is done, in [0, 1); the engine sets it before each step.
    progress: float

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


def _lay_out_as_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Give loaded moments the memory layout of their weights.

    Files keep tensors contiguous; fused AdamW walks weights and moments by address, so under channels_last it would
    pair each weight with the moments of another.
    """
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            if value.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter).copy_(value)


def _not_finite(what: str, state: Path, seen: dict[str, Any], fabric: Fabric) -> InputError:
    """Keep a step's losses and batches beside `state`, to be studied with `load_state`; the error that tells of it.

    Each process keeps its own, before any of them ends and torchrun ends the others.
    """
    process = f"-{fabric.global_rank}" if fabric.world_size > 1 else ""
    folder = state.with_name(f"{state.name}.not-finite{process}")
    save_state(folder, seen)
    fabric.barrier()
    return InputError(
        f"{what}: at step {seen['step']} the loss is {seen['loss']:.6g} and the gradient norm {seen['grad_norm']:.6g}; "
        f"lower `lr`, or train with precision 32-true (the step's batch is in {folder})"
    )


def _words(batch: Batch) -> int:
    """How many words a batch holds, where it tells."""
    return int(batch["words"]) if isinstance(batch, dict) and "words" in batch else 0


def _loader(steps: Steps, numbers: range, workers: int) -> DataLoader:
    return DataLoader(
        steps,
        batch_size=None,
        sampler=numbers,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=torch.cuda.is_available(),
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

    Leaves the best weights (averaged, if `config.ema`) in `system.network`, on the CPU. Under torchrun only the
    first process returns; the others' work is done, and they exit. Raises InputError on a loss or a
    gradient norm that is not finite; it names the step and the folder, beside `state`, that keeps its batches.
    """
    began = time.monotonic()
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Deterministic mode also fills every new tensor, to expose reads of uninitialised memory: 5 % of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    fabric = open_fabric()
    world, rank = fabric.world_size, fabric.global_rank

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

    saved = fabric.broadcast(load_state(state) if fabric.is_global_zero else None)
    if saved is not None:
        start, stale, best = saved["step"], saved["stale"], saved["best"]
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        _lay_out_as_parameters(optimizer)
        if average:
            average.values = fabric.to_device(saved["average"])
        fabric.print(f"{what}: going on from step {start}")

    def keep(step: int) -> None:
        if not fabric.is_global_zero:
            return
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
        report.save()

    def validated(step: int) -> dict[str, float]:
        """Validate with the averaged weights, then put the live ones back."""
        nonlocal best, stale
        live = {k: v.detach().clone() for k, v in network.state_dict().items()}
        if average:
            network.load_state_dict(average.values)
        network.eval()
        figures: dict[str, float] = {}
        if fabric.is_global_zero:
            with torch.no_grad(), autocast():
                figures = system.validate(fabric.to_device(batch) for batch in steps.validation())
            report.pictures(step, system)
        figures = fabric.broadcast(figures)
        if _better(figures[metric], best["value"], mode):
            weights = {k: v.detach().clone() for k, v in network.state_dict().items()}
            best, stale = {"step": step, "value": figures[metric], "metrics": figures, "weights": weights}, 0
        else:
            stale += 1
        network.load_state_dict(live)
        network.train()
        return figures

    network.train()
    micro = config.accumulate
    numbers = range(start * micro * world + rank, config.steps * micro * world, world)
    batches = iter(_loader(steps, numbers, workers))
    pages = micro * config.batch * world  # of a step
    board = state.parent.parent / "tensorboard" / state.name  # .scriptorium/training/NAME has it beside it
    report = (
        Report(what, log=log, board=board, start=start, steps=config.steps, pages=pages)
        if fabric.is_global_zero
        else Silence()
    )
    with report:
        for step in range(start, config.steps):
            if config.patience and stale >= config.patience:
                break
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * schedule(step)
            system.progress = step / config.steps
            torch.manual_seed((seed * 1_000_003 + step) * world + rank)
            sums: dict[str, Tensor] = {}
            taken = [next(batches) for _ in range(micro)]
            for part, batch in enumerate(taken):
                with fabric.no_backward_sync(module, enabled=part < micro - 1):
                    with autocast():
                        losses = module.loss(fabric.to_device(batch))
                    fabric.backward(losses["total"] / micro)
                for name, value in losses.items():
                    sums[name] = sums.get(name, 0) + value.detach().float() / micro
            norm = nn.utils.clip_grad_norm_(network.parameters(), config.clip)
            # Means over the processes; the loss's parts are each one's own.
            means = torch.stack([sums.pop("total"), norm, norm.new_tensor(sum(map(_words, taken)))])
            own = float(means[0])
            loss, norm, words = fabric.all_reduce(means).tolist()  # pyright: ignore[reportAttributeAccessIssue]
            row: dict[str, Any] = {"step": step + 1, "lr": optimizer.param_groups[-1]["lr"], "loss": loss}
            row |= {name: float(value) for name, value in sums.items()} | {"grad_norm": norm}
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise _not_finite(what, state, {**row, "own_loss": own, "batches": taken}, fabric)
            optimizer.step()
            optimizer.zero_grad()
            if average:
                average.update(network, step)
            done = step + 1
            if done % config.evaluate_every == 0 or done == config.steps:
                row |= {f"val_{k}": v for k, v in validated(done).items()}
            report.step(row, round(words * world))
            if done % config.save_every == 0 or done == config.steps:
                keep(done)
    network.load_state_dict(best["weights"])
    leave_unless_first(fabric)
    module.cpu().eval()
    return FitSummary(
        steps=config.steps,
        best_step=best["step"],
        metrics=best["metrics"],
        seconds=time.monotonic() - began,
        resumed_from=start,
    )
