"""Starting a training from weights that exist: the starter's, or a checkpoint of the user's own."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ml.models.charset import MARKERS, Charset
from ml.training.checkpoint import read

#: Tensors with one row a symbol of the charset.
BY_SYMBOL = {"reader.symbols.weight", "reader.symbols.bias", "decoder.symbols.weight", "decoder.symbols.bias"}
BY_SYMBOL |= {"decoder.embed.weight"}


def start_from(network: nn.Module, folder: Path) -> str:
    """Give `network` what fits it of the checkpoint in `folder`; says what was taken and what stays fresh.

    Tensors fit by name and shape. Those with a row a symbol are copied row by row, so a reader with another charset
    keeps what it knows of the characters that both have. Raises UsageError where there is no checkpoint, InputError
    where it is damaged.
    """
    card, tensors = read(folder)
    fresh: list[str] = []
    own: dict[str, Tensor] = network.state_dict()
    symbols: Charset | None = getattr(network, "charset", None)
    for name, value in own.items():
        given = tensors.get(name)
        if given is not None and name in BY_SYMBOL and symbols is not None:
            own[name] = _by_symbol(value, given, symbols, Charset(card["charset"]))
        elif given is not None and given.shape == value.shape:
            own[name] = given.to(value.dtype)
        else:
            fresh.append(name)
    network.load_state_dict(own)
    parts = sorted({name.split(".")[0] for name in fresh})
    taken = len(own) - len(fresh)
    what = f"{taken} of {len(own)} tensors from {folder} ({card['name']}, data {str(card['data'])[:8]})"
    return what + (f"; fresh: {', '.join(parts)}" if parts else "")


def _by_symbol(own: Tensor, given: Tensor, symbols: Charset, known: Charset) -> Tensor:
    """`own` with the rows of markers and shared symbols taken from `given`, where the rows are as long."""
    if own.shape[1:] != given.shape[1:]:
        return own
    shared = [c for c in symbols.symbols if c in set(known.symbols)]
    to = [*range(MARKERS), *symbols.encode("".join(shared))]
    source = [*range(MARKERS), *known.encode("".join(shared))]
    own = own.clone()
    own[torch.tensor(to)] = given[torch.tensor(source)].to(own.dtype)
    return own
