"""Work is data, running is elsewhere: what any executor (Dask, a plain loop in a test) needs to know of a workload."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable


class Session(ABC):
    """One worker process's side of a workload: opened once, then asked for unit after unit; a context manager."""

    @abstractmethod
    def do(self, unit: int) -> Any:
        """Does one unit and returns a receipt of under 1 kB."""

    @abstractmethod
    def close(self) -> None:
        """Ends what the session started."""

    def parts(self, unit: int) -> Sequence[int]:  # noqa: ARG002  (for those that have some)
        """What a unit consists of, where each part can be tried by itself; by default nothing can."""
        return ()

    def rehearse(self, part: int) -> None:
        """Does one of `parts` as `do` would and writes nothing: it is tried whether the process lives on."""
        raise NotImplementedError(f"{type(self).__name__} has no parts: {part}")

    def do_carefully(self, unit: int, without: Mapping[int, str]) -> Any:
        """As `do`, with the same bytes, one part after another: least memory. Parts of `without` end the process, for the reason
        that is given: they are left out, or raised where none may be."""
        raise NotImplementedError(f"{type(self).__name__} has no parts: {unit} without {list(without)}")

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@runtime_checkable
class Workload(Protocol):
    """What is sent once to every worker. Picklable; equal workloads have equal keys."""

    @property
    def key(self) -> str:
        """Names the workload: part of every task's key."""
        ...

    @property
    def units(self) -> Sequence[int]:
        """What is to be done; the order is the order of submission, never of results."""
        ...

    def open(self) -> Session:
        """Called on the worker."""
        ...
