"""The files of an average that is not finished: what each says of its frames, and where it lies.

A part leaves one file beside the store, with checksums: for each brick that some frame touched the weighted mean and the sum of
squared deviations, in double precision, and what the checks said. It is the only record there is: whole or not there. Up to
`MERGED` files become one, as soon as they are all there, and are gone then. So whatever the number of frames there are never more
than `Tree.most_files`: some `MERGED` on each level for each part in hand. Each holds a volume twice in double precision, cut to
the bricks that frames touch: 16 bytes a voxel.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from zipfile import is_zipfile

import numpy as np

from ...tasks.ensemble.groups import Groups
from ...tasks.errors import Problem, StoreDamage
from ...tasks.moments import Moments
from ...tasks.moments_file import NotMoments, damage, opened, read_extra, write
from ...tasks.store.atomic import Writer
from ...tasks.values import Accuracy, FrameRecord, Receipt
from ..job import Job
from ..proof import Proof
from .tree import Node, Tree


@dataclass(frozen=True)
class Mass:
    """Sums over frames with weights w, of which the mean is the exact mass of the mean volume: it is linear."""

    mass: float = 0.0
    """Σw·mass, Å; NaN where no law says it."""
    scale: float = 0.0
    lost: float = 0.0
    """Σw·scale·lost: of mass, as `FrameRecord` has it."""

    def with_(self, other: "Mass") -> "Mass":
        """Of both together."""
        return Mass(self.mass + other.mass, self.scale + other.scale, self.lost + other.lost)

    @classmethod
    def of(cls, frame: FrameRecord, weight: float) -> "Mass":
        """Of one frame."""
        return cls(weight * frame.mass, weight * frame.scale, weight * frame.scale * frame.lost)


@dataclass(frozen=True)
class Facts:
    """What is known of the frames of a file, beside their moments."""

    proof: Proof = Proof()
    mass: Mass = Mass()
    done: int = 0
    weight: float = 0.0
    """Σw of those that are done."""
    bad: tuple[tuple[int, str], ...] = ()
    """(frame of the ensemble, reason) of those that were left out."""
    engines: tuple[str, ...] = ()
    """What drew them, sorted."""
    squared: float = 0.0
    """Σw·Σx² over frames and voxels, of which the mean's and the variance's sums are held to be: not made of the moments."""

    def with_(self, other: "Facts") -> "Facts":
        """Of both together."""
        engines = tuple(sorted({*self.engines, *other.engines}))
        return Facts(
            self.proof.with_(other.proof),
            self.mass.with_(other.mass),
            self.done + other.done,
            self.weight + other.weight,
            self.bad + other.bad,
            engines,
            self.squared + other.squared,
        )

    def to_array(self) -> np.ndarray:
        """As a file has it: JSON in bytes; floats come back to the last bit."""
        return np.frombuffer(json.dumps(asdict(self)).encode(), np.uint8)

    @classmethod
    def of_array(cls, data: np.ndarray) -> "Facts":
        """Raises `ValueError`, `KeyError` or `TypeError` where it is not what `to_array` gave."""
        said = json.loads(data.tobytes())
        proof = Proof(**{**said["proof"], "accuracy": Accuracy(**said["proof"]["accuracy"])})
        bad = tuple((int(frame), str(reason)) for frame, reason in said["bad"])
        return cls(proof, Mass(**said["mass"]), said["done"], said["weight"], bad, tuple(said["engines"]), said["squared"])


UNREADABLE = (NotMoments,)
"""What is raised for a file that is not what was written."""


def there(folder: Path, node: Node) -> bool:
    """By the end of the file, where its entries are listed: what is in them may be large."""
    try:
        return is_zipfile(folder / node.name)
    except OSError:
        return False


def facts_of(folder: Path, node: Node) -> Facts:
    """What a file says beside its moments, which are not read. Raises one of `UNREADABLE`, `FileNotFoundError`."""
    with damage(folder / node.name):
        return Facts.of_array(read_extra(folder / node.name, "facts"))


@dataclass(frozen=True)
class PartReceipt(Receipt):
    """Of a part, in the place of a shard: under 1 kB."""

    named: tuple[tuple[int, str], ...]
    """(frame, reason) of the first that were left out."""


@dataclass(frozen=True)
class Merged:
    """A receipt: files became one."""

    size: int
    """Bytes of it."""


@dataclass(frozen=True, eq=False)
class Average:
    """All that decides an average and says where its files lie."""

    job: Job
    groups: Groups
    folder: Path
    """Of the files; its name is made of all that decides them."""

    @cached_property
    def tree(self) -> Tree:
        """How it is shared out."""
        return Tree(tuple(map(len, self.groups.frames)))

    def has(self, node: Node) -> bool:
        """Whether its file is there."""
        return there(self.folder, node)

    def made(self, node: Node) -> Node | None:
        """The file that what is at `node` has gone into: its own, or one above it; None where there is none."""
        return next((one for one in (node, *self.tree.above(node)) if self.has(one)), None)

    def facts(self, node: Node) -> Facts:
        """What a file says beside its moments. Raises `StoreDamage`, `FileNotFoundError`."""
        with self.undamaged():
            return facts_of(self.folder, node)

    @contextmanager
    def moments(self, node: Node) -> Iterator[Moments]:
        """Of its frames, to be gone through in the block. Raises as `facts` does where it is in a block of `undamaged`."""
        with opened(self.folder / node.name, self.job.layout.grid.brick) as moments:
            yield moments

    def put(self, writer: Writer, node: Node, moments: Moments, facts: Facts) -> int:
        """Leaves a file; its size. Raises as `Writer.write` does."""
        with writer.opened(self.folder, node.name) as file:
            write(file, moments, self.job.layout.grid.brick, facts=facts.to_array())
            return file.tell()

    @contextmanager
    def undamaged(self) -> Iterator[None]:
        """A file that turns out in the block to be damaged is taken away: the frames below it are pending again.

        Raises `StoreDamage` for it.
        """
        try:
            yield
        except NotMoments as damaged:
            self.job.writer.remove(self.folder, damaged.path.name)
            got, fix = f"{type(damaged.error).__name__}: {damaged.error}", "run the same command again: it makes this part anew"
            what = "a part of the average is damaged"
            raise StoreDamage(Problem(what, str(damaged.path), got, "what was written", fix)) from damaged
