"""`cryovox verify` of an average: both of its stores, and the root that says of what they are; it is made anew as a whole."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..tasks.errors import Problem, Refusal
from ..tasks.store import products
from ..workflows.averages.resume import ANEW, State, is_product, there
from .events.exits import Exit
from .summary import verify_lines
from .verify import Stop, Verified, verify


@dataclass(frozen=True)
class VerifiedAverage:
    """What was found."""

    store: Path
    lost: tuple[Problem, ...]
    """What is wrong with the group's own file, and which of the two cannot be opened."""
    found: dict[str, Verified]

    @property
    def exit(self) -> Exit:
        """Of the command."""
        return Exit.STOPPED if self.lost or any(one.findings for one in self.found.values()) else Exit.DONE

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        both = {name: one.to_json() for name, one in self.found.items()}
        lost = [{"what": one.what, "path": one.where} for one in self.lost]
        return {"store": str(self.store), "damaged": self.exit is not Exit.DONE, "lost": lost, **both}

    def lines(self) -> Iterator[str]:
        """For a person."""
        for one in self.found.values():
            yield from verify_lines(one, advice=False)
        for problem in self.lost:
            yield f"damaged      {problem.where}: {problem.what}"
        if self.exit is not Exit.DONE:
            yield f"next         {ANEW}"


def is_average(store: Path) -> bool:
    """Whether there is one, whole or damaged."""
    return there(Path(os.path.realpath(store))).state in (State.WHOLE, State.DAMAGED)


def verify_average(store: Path, deep: bool, stop: Stop) -> VerifiedAverage:
    """Looks at both and changes nothing. Raises as `verify` does."""
    store = Path(os.path.realpath(store))
    found, lost = dict[str, Verified](), {problem.where: problem for problem in there(store).problems}
    for name in products.PRODUCTS:
        try:
            found[name] = verify(store / name, deep, stop)
        except Refusal as refusal:
            lost.setdefault(str(store / name), refusal.problems[0])
    return VerifiedAverage(store, tuple(lost.values()), found)


def no_repair(store: Path) -> None:
    """Raises `Refusal` where `store` is an average, or a mean or a variance of one, wherever it lies by now."""
    store = Path(os.path.realpath(store))
    within = store.name in products.PRODUCTS and is_average(store.parent)
    if is_average(store) or within or is_product(store):
        got = "the sums that it was made of are not kept"
        whole = str(store.parent if within else store)
        raise Refusal(Problem("an average is not repaired in part", whole, got, "`cryovox verify` alone", ANEW))
