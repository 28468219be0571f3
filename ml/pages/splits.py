"""Which split a document belongs to: a pure function of its id, the seed and the shares."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


def position(document: str, seed: int) -> float:
    """Where a document lies in [0, 1): stable, whatever other documents there are."""
    digest = hashlib.sha256(f"{seed}:{document}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split_documents(documents: Iterable[str], seed: int, val: float, test: float) -> dict[str, Split]:
    """The split of every document.

    New documents never move old ones, with one exception: in a small set, a wanted split that would be empty
    gets the document that lies nearest to it. With three documents or more no wanted split is empty.
    """
    order = sorted(set(documents), key=lambda document: (position(document, seed), document))
    split: dict[str, Split] = {}
    for document in order:
        place = position(document, seed)
        split[document] = "test" if place < test else "val" if place < test + val else "train"
    shares: dict[Split, float] = {"test": test, "val": val, "train": 1 - val - test}
    wanted: list[Split] = [name for name, share in shares.items() if share > 0]
    if len(order) >= len(wanted):
        _fill(order, split, wanted)
    return split


def _fill(order: list[str], split: dict[str, Split], wanted: list[Split]) -> None:
    """Move as few documents as give every wanted split one. `order` runs from test over val to train."""
    sizes: dict[Split, int] = {name: sum(split[document] == name for document in order) for name in wanted}
    while not all(sizes.values()):
        empty: Split = next(name for name in wanted if not sizes[name])
        giver: Split = max(wanted, key=lambda name: (sizes[name], name == "train"))
        given = [document for document in order if split[document] == giver]
        document = given[0] if wanted.index(empty) < wanted.index(giver) else given[-1]
        split[document] = empty
        sizes[giver] -= 1
        sizes[empty] += 1
