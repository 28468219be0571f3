"""A trained model as files: `model.safetensors` and a JSON card. Nothing in it can run code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ml.errors import InputError, UsageError
from ml.models.processor import Card


def save(folder: Path, network: nn.Module, card: Card, half: bool = False) -> None:
    """Write a checkpoint, beside and renamed into place; with `half` in float16, at half the size."""
    beside = folder.with_name(folder.name + ".new")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    if half:
        tensors = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
    save_file(tensors, beside / "model.safetensors")
    (beside / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)


def read(folder: Path) -> tuple[Card, dict[str, Tensor]]:
    """A checkpoint's card and tensors.

    Raises UsageError where the folder holds no checkpoint, InputError where it is damaged.
    """
    try:
        card: Card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        return card, load_file(folder / "model.safetensors")
    except FileNotFoundError as error:
        raise UsageError(
            f"{folder}: no checkpoint ({Path(error.filename or '').name} is missing); train one first"
        ) from None
    except (SafetensorError, ValueError, OSError) as error:
        raise InputError(f"{folder}: the checkpoint is damaged: {error}") from error


def load(folder: Path) -> tuple[nn.Module, Card]:
    """A checkpoint's network, in evaluation mode, and its card; raises what `read` raises."""
    card, tensors = read(folder)
    network = build(card)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(
            f"{folder}: the weights do not fit the card's configuration: {str(error)[:300]}"
        ) from None
    return network.eval(), card


def build(card: Card) -> nn.Module:
    """The network that a card describes, with fresh weights. Raises InputError for an unknown family."""
    if card.get("model") == "trident":
        from ml.config import TridentConfig
        from ml.models.trident.network import Trident

        return Trident(TridentConfig.model_validate(card["config"] | {"weights": None}))
    if card.get("model") == "dfine":
        from ml.config import DFineConfig
        from ml.models.dfine.network import build_network

        return build_network(DFineConfig.model_validate(card["config"] | {"weights": None}))
    raise InputError(f"model card of '{card.get('name')}': family {card.get('model')!r} is not known")
