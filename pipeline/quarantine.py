"""Units whose workers died wait until all others are done; then their parts are tried in a child, and each is done alone."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .events.exits import UnitFailed
from .workers.task import do_carefully, do_units, try_parts
from .workers.trial import GUILTY, Limits, Tried

NAMED = 3
"""Units or parts that a line names."""


@dataclass(frozen=True)
class Errand:
    """A task for one worker, with nothing beside it."""

    units: tuple[int, ...]
    task: Callable[..., Any]
    arguments: tuple[Any, ...]
    """After the workload's key and before the examination's name."""


@dataclass
class Quarantine:
    """What is known of such units; it outlives the cluster that they ended. `say`: a line for a person. `named`: units in a
    person's words."""

    say: Callable[[str], None] = lambda _: None
    named: Callable[[Sequence[int]], str] = lambda units: named("unit", units)
    _untried: list[int] = field(default_factory=list)
    _tried: deque[int] = field(default_factory=deque)
    _begin: int = 0
    _guilty: dict[int, dict[int, str]] = field(default_factory=dict)
    _late: dict[int, tuple[int, str]] = field(default_factory=dict)
    _partless: set[int] = field(default_factory=set)
    _failed: dict[int, UnitFailed] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._untried) + len(self._tried)

    @property
    def units(self) -> set[int]:
        """All that were ever set aside."""
        return {*self._untried, *self._tried, *self._failed}

    def set_aside(self, units: Iterable[int]) -> None:
        """Their task's workers died, four in a row: Dask blames all that a dead worker had been given."""
        some = [unit for unit in units if unit not in self.units]
        self._untried += some
        self._begin = 0
        if some:
            what = f"{self.named(some)}: the worker processes that drew this ended, four times in a row"
            self.say(f"{what}; looked into once all others are done")

    def errand(self, limits: Limits) -> Errand:
        """What is to be done next; there is some unit."""
        if self._untried:
            units = tuple(self._untried)
            return Errand(units, try_parts, (units, self._begin, limits))
        unit = self._tried[0]
        if unit in self._partless and unit not in self._guilty:
            return Errand((unit,), do_units, ((unit,),))
        return Errand((unit,), do_carefully, (unit, self._guilty.get(unit, {})))

    def found(self, tried: Tried) -> None:
        """What a trial says."""
        for unit, guilty in tried.guilty.items():
            known = self._guilty.setdefault(unit, {})
            known.update(guilty)
            for part, why in guilty.items():
                self.say(f"frame {part} {why}")
        self._late.update(tried.late)
        self._partless.update(tried.partless)
        if tried.opening:
            what = f"{self.named(self._untried)}: frames are not tried one by one any more"
            self.say(f"{what}, since the process that does so {tried.opening} before it comes to one")
            if not (tried.parts or tried.begin or self._begin):  # nobody has ever seen their parts
                self._partless.update(self._untried)
        self._begin = tried.begin
        if not tried.over:
            return
        for unit in self._untried:
            many = self._guilty.get(unit, {})
            if unit in self._late:
                part, why = self._late[unit]
                text = f"frame {part} {why}, twice: a file system that hangs, or more work than there is time for"
                self._failed[unit] = UnitFailed(unit, RuntimeError(text))
            elif len(many) >= GUILTY:
                said = "; ".join(f"frame {part} {why}" for part, why in list(many.items())[:NAMED])
                text = f"{len(many)} frames of {self.named([unit])} end their process, the rest is not tried: {said}; {_ADVICE}"
                self._failed[unit] = UnitFailed(unit, RuntimeError(text))
            else:
                self._tried.append(unit)
        self._untried, self._begin = [], 0

    def done(self, unit: int) -> None:
        """It is no suspect any more."""
        if unit in self._tried:
            self._tried.remove(unit)

    def ended_its_worker(self, errand: Errand) -> None:
        """With nothing beside it. A trial that does so is of no use: its units are done alone."""
        if errand.task is try_parts:
            self.found(Tried(opening="ends the worker"))
            return
        for unit in errand.units:
            text = f"{self.named([unit])} ended its worker processes again and again, alone as well; {_ADVICE}"
            self.failed(UnitFailed(unit, RuntimeError(text)))

    def failed(self, failure: UnitFailed) -> None:
        """It cannot be done; the others are, before that is raised."""
        self._failed[failure.unit] = failure
        self.done(failure.unit)
        if failure.unit in self._untried:
            self._untried.remove(failure.unit)
            self._begin = 0

    def close(self) -> None:
        """Raises `UnitFailed` for those that cannot be done."""
        failures = list(self._failed.values())
        if len(failures) == 1:
            raise failures[0]
        if failures:
            raise UnitFailed(failures[0].unit, RuntimeError("\n".join(map(str, failures))))


_ADVICE = "often memory is short: raise `memory_limit` (of SLURM jobs `memory`), or take `threads: 1`"


def named(noun: str, units: Sequence[int]) -> str:
    """`shard 3`, or `shards 3, 4, 5 and 2 more`."""
    some = ", ".join(map(str, units[:NAMED]))
    return f"{noun}{'' if len(units) == 1 else 's'} {some}{f' and {len(units) - NAMED} more' if len(units) > NAMED else ''}"
