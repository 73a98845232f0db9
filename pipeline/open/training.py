"""Volumes for a training loop: a map-style dataset that PyTorch's loader takes as it is, an order that follows the shards, and
plain iteration for everyone else.

Nothing here imports PyTorch: its `DataLoader` asks a dataset for `__len__`, `__getitem__` and `__getitems__`, and a sampler for
`__iter__` and `__len__`. What comes out are NumPy arrays, which its default collation makes tensors of; every array speaks
DLPack.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int64

from ...tasks.values import Bricks

if TYPE_CHECKING:
    from .series import VolumeSeries

FORMS = ("dense", "bricks")
SHARDS_AT_ONCE = 16
"""Shards whose frames are shuffled together: more is a better shuffle of an ensemble whose neighbours are alike."""


class VolumeDataset:
    """The frames of a series as samples, for `torch.utils.data.DataLoader` or a loop of your own.

    A sample is a dict: `frame` (its number in the ensemble), every column of `labels` (text becomes its index in `categories`,
    -1 where there is none), and by `form`: `dense`: `volume` (z, y, x); `bricks`: `indices` (n, 3), the places (z, y, x) of the
    bricks, and `values` (n, T, T, T), for which the loader needs `collate_fn=dataset.collate`. Voxels are `scale` times the
    store's (Å⁻²), in float32.

    Picklable: with `multiprocessing_context="spawn"` each worker opens what it needs. Volumes on demand must be spawned, never
    forked. Raises `ValueError` for another form, and where a frame of the series is not done; `KeyError` for a label that is
    not there.
    """

    def __init__(self, series: "VolumeSeries", form: str = "dense", labels: str | Iterable[str] = (), scale: float = 1.0):
        if form not in FORMS:
            raise ValueError(f"form is one of {', '.join(FORMS)}, got {form!r}")
        if len(missing := np.setdiff1d(np.arange(len(series)), series.done)):
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise ValueError(
                f"frame {missing[0]}{more} of {series.source.name} cannot be read; `volumes.select(volumes.done)` has the others"
            )
        self.series, self.form, self.scale = series, form, float(scale)
        self.labels, self.categories = _columns(series, (labels,) if isinstance(labels, str) else tuple(labels))

    def __len__(self) -> int:
        return len(self.series)

    def __getitem__(self, place: int) -> dict[str, Any]:
        return self.__getitems__([place])[0]

    def __getitems__(self, places: Sequence[int]) -> list[dict[str, Any]]:
        """Several samples, read in one go: PyTorch's loader asks for a batch in this way."""
        batch, n = self.batch(places), len(places)
        if self.form == "dense":
            return [{name: column[i] for name, column in batch.items()} for i in range(n)]
        bounds = np.searchsorted(batch.pop("sample"), np.arange(n + 1))
        bricks = {name: batch.pop(name) for name in ("indices", "values")}
        return [
            {name: column[i] for name, column in batch.items()} | {name: column[a:b] for name, column in bricks.items()}
            for i, (a, b) in enumerate(pairwise(bounds))
        ]

    def batch(self, places: Sequence[int]) -> dict[str, np.ndarray]:
        """Several samples, collated: what `collate` makes of them, without its copy."""
        chosen = np.array([index(place) for place in places], np.int64)
        if self.form == "dense":
            voxels: dict[str, np.ndarray] = {"volume": self._scaled(self.series[chosen])}
        else:
            bricks = self.series.bricks(chosen)
            voxels = {"indices": bricks.indices, "values": self._scaled(bricks.values), "sample": bricks.frames}
        facts = {name: column[chosen] for name, column in self.labels.items()}
        return {"frame": self.series.numbers[chosen], **facts, **voxels}

    @staticmethod
    def collate(samples: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
        """One batch: columns stacked; `indices` and `values` of all bricks in a row, and `sample` (n,) says whose each is."""
        apart = {"indices", "values"}
        batch = {name: np.stack([one[name] for one in samples]) for name in samples[0] if name not in apart}
        if apart <= set(samples[0]):
            counts = [len(one["values"]) for one in samples]
            batch |= {name: np.concatenate([one[name] for one in samples]) for name in apart}
            batch["sample"] = np.repeat(np.arange(len(samples)), counts)
        return batch

    @staticmethod
    def bricks(batch: Mapping[str, np.ndarray]) -> Bricks:
        """The bricks of a batch: for `dense_on_device(dataset.bricks(batch), volumes.grid)`, say. Tensors become arrays."""
        indices, values, sample = (np.asarray(batch[name]) for name in ("indices", "values", "sample"))
        return Bricks(len(batch["frame"]), sample, indices, values)

    def sampler(self, seed: int = 0, **others: Any) -> "ShardSampler":
        """An order of all frames that is another in every epoch: see `ShardSampler`."""
        return ShardSampler(self.series.numbers, self.series.source.layout.frames_per_shard, seed, **others)

    def batches(
        self, size: int, order: Iterable[int] | None = None, *, ahead: int = 2, drop_last: bool = False
    ) -> Iterator[dict[str, np.ndarray]]:
        """Batches of `size` samples, collated, in this order (a sampler; None: as they lie): a loop for JAX and everyone else.

        A thread reads `ahead` batches while yours computes: unpacking leaves Python to others. Raises what reading raises.
        """
        if index(size) < 1:
            raise ValueError(f"a batch has one sample or more, got {size}")
        places = list(range(len(self)) if order is None else order)
        self.series.source.begin()  # here: the thread that reads ends with this loop
        groups = [places[i : i + size] for i in range(0, len(places), size)]
        if drop_last and groups and len(groups[-1]) < size:
            groups.pop()
        return _ahead((partial(self.batch, group) for group in groups), ahead)

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        values = values.astype(np.float32, copy=False)
        return values if self.scale == 1.0 else values * np.float32(self.scale)


class ShardSampler:
    """Places of all frames, each once an epoch, shuffled: shards in a random order, the frames of some shards at a time mixed.

    Frames of a shard lie in one file, so what is read together is near in time, in the system's cache and, over a network, in
    few requests. The order is a function of `seed` and epoch alone: call `set_epoch` before each. `part=(i, n)`: the i-th of n
    disjoint shares, for n processes that train together; their lengths differ by one frame at most, and `even=True` leaves out
    the last frames of the longer ones. `shards_at_once`: how many shards are mixed; all of them is a perfect shuffle.
    """

    def __init__(
        self,
        numbers: Int64[np.ndarray, " n"],
        frames_per_shard: int,
        seed: int = 0,
        *,
        part: tuple[int, int] = (0, 1),
        even: bool = False,
        shards_at_once: int = SHARDS_AT_ONCE,
    ):
        i, n = part
        if not 0 <= i < n:
            raise ValueError(f"part is (i, n) with 0 ≤ i < n, got {part}")
        if shards_at_once < 1:
            raise ValueError(f"shards_at_once is one or more, got {shards_at_once}")
        self._shards = numbers // frames_per_shard
        self._seed, self._part, self._even, self._at_once, self.epoch = seed, part, even, shards_at_once, 0

    def set_epoch(self, epoch: int) -> None:
        """The order of the next iteration; equal in every process that trains together."""
        self.epoch = epoch

    def __len__(self) -> int:
        i, n = self._part
        whole, rest = divmod(len(self._shards), n)
        return whole + (0 if self._even else int(i < rest))

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng([self._seed, self.epoch])
        order = random.permutation(np.unique(self._shards))
        by_shard = np.argsort(self._shards, kind="stable")
        bounds = np.searchsorted(self._shards[by_shard], np.stack([order, order + 1]))
        i, n = self._part
        mixed = []
        for first in range(0, len(order), self._at_once):
            some = [by_shard[a:b] for a, b in bounds.T[first : first + self._at_once]]
            mixed.append(random.permutation(np.concatenate(some)))
        every = np.concatenate(mixed) if mixed else np.zeros(0, np.int64)
        yield from every[i::n][: len(self)].tolist()


def _columns(series: "VolumeSeries", names: tuple[str, ...]) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]]]:
    """The labels' values as numbers, and of text what they count: -1 is none."""
    columns: dict[str, np.ndarray] = {}
    categories: dict[str, tuple[str, ...]] = {}
    known = series.source.categories() if names else {}
    for name in names:
        column = series.frames[name]
        if column.dtype.kind == "U":
            # those of all frames, so that a class has one number in every selection
            categories[name] = known.get(name) or tuple(filter(None, np.unique(series.source.table()[name]).tolist()))
            number = {text: n for n, text in enumerate(categories[name])}
            column = np.array([number.get(text, -1) for text in column.tolist()], np.int64)
        columns[name] = column
    return columns, categories


def _ahead(calls: Iterable[Callable[[], Any]], ahead: int) -> Iterator[Any]:
    """What the calls return, in their order, called by a thread up to `ahead` of whoever takes them."""
    found: queue.Queue[tuple[bool, Any]] = queue.Queue(max(1, ahead))
    over = threading.Event()

    def read() -> None:
        try:
            for call in calls:
                if not _put(found, (True, call()), over):
                    return
            _put(found, (False, None), over)
        except BaseException as error:  # raised where the values are taken
            _put(found, (False, error), over)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        while True:
            more, value = found.get()
            if not more:
                if value is not None:
                    raise value
                return
            yield value
    finally:
        over.set()
        thread.join()


def _put(found: "queue.Queue[tuple[bool, Any]]", item: tuple[bool, Any], over: threading.Event) -> bool:
    """Whether somebody still takes them."""
    while not over.is_set():
        try:
            found.put(item, timeout=0.1)
        except queue.Full:
            continue
        return True
    return False
