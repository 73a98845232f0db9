"""A mean or a variance as its store keeps it: rounded brick by brick, what that cost, and whether the store gives it back."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from ...tasks.errors import Problem, StoreDamage
from ...tasks.render.certificate import rounding
from ...tasks.store.layout import StoreLayout
from ...tasks.store.read import read_bricks
from ...tasks.store.rounding import kept
from ...tasks.values import Bricks

SAMPLE = 4096
"""Voxels of each volume that are read back."""


class Rounded:
    """Of one group: takes brick after brick. Memory: all bricks in the store's type."""

    def __init__(self, indices: Int64[np.ndarray, "n 3"], layout: StoreLayout, keepbits: int | None, seed: Sequence[int]):
        self._layout, self._keepbits = layout, keepbits
        t = layout.grid.brick
        self.bricks = Bricks(1, np.zeros(len(indices), np.int64), indices, np.empty((len(indices), t, t, t), layout.dtype))
        draw, size = np.random.default_rng(seed), len(indices) * t**3
        # (brick, voxel in it), in the order in which bricks come
        self._sample = np.divmod(np.sort(draw.integers(0, size, min(SAMPLE, size))), t**3) if size else (np.zeros(0, int),) * 2
        self._exact = np.empty(len(self._sample[0]))
        self._squared_error = self._squared_norm = self._largest = 0.0

    def put(self, place: int, exact: Float64[np.ndarray, "t t t"]) -> None:
        """The brick at this place."""
        stored = self.bricks.values[place]
        stored[:] = kept(exact[None], self._layout.dtype, self._keepbits)[0]
        with np.errstate(over="ignore", invalid="ignore"):  # of what overflowed: `demand` says so
            self._squared_error += float(np.square(stored - exact).sum())
        self._squared_norm += float(np.square(exact).sum())
        self._largest = max(self._largest, float(np.abs(exact).max()))
        some = slice(*np.searchsorted(self._sample[0], [place, place + 1]))
        self._exact[some] = exact.ravel()[self._sample[1][some]]

    @property
    def relative(self) -> float:
        """L2 of what rounding took, relative to the volume's; 0 for one of zeros."""
        return float(np.sqrt(self._squared_error / self._squared_norm)) if self._squared_error else 0.0

    @property
    def n_compared(self) -> int:
        """Voxels that `compare` reads back."""
        return len(self._exact)

    def demand(self, name: str) -> None:
        """Raises `StoreDamage` where the store's type does not hold the numbers of this `name`."""
        allowed, dtype = rounding(self._layout.dtype, self._keepbits), self._layout.dtype
        if self._squared_error <= allowed**2 * self._squared_norm:
            return
        how = dtype + ("" if self._keepbits is None else f" with `keepbits: {self._keepbits}`")
        got = f"values up to {self._largest:.2g} lose {self.relative:.2g} of their norm in {how}"
        fix = "`dtype: float32` under `store`: what was drawn is kept, only the end is done again"
        raise StoreDamage(Problem(f"the {name} does not fit the store's type", "store", got, f"at most {allowed:.2g}", fix))

    def compare(self, name: str, store: Path, group: int) -> None:
        """Reads the group back: raises `StoreDamage` where a drawn voxel is not the double-precision one, rounded."""
        read, (bricks, voxels) = read_bricks(store, [group]), self._sample
        where = {tuple(index): n for n, index in enumerate(read.indices.tolist())}
        places = np.array([where.get(tuple(index), -1) for index in self.bricks.indices.tolist()], int)[bricks]
        flat = read.values.reshape(len(read.values), self._layout.grid.brick**3)
        stored = np.zeros(len(bricks), flat.dtype)  # a brick of zeros is not stored
        stored[places >= 0] = flat[places[places >= 0], voxels[places >= 0]]
        wanted = kept(self._exact.reshape(-1, 1, 1, 1), self._layout.dtype, self._keepbits).ravel()
        if (wrong := stored != wanted).any():
            n, got = int(np.flatnonzero(wrong)[0]), f"{int(wrong.sum())} of {len(wrong)} voxels differ"
            what, wanted_one = f"the {name} is not what was written", f"{wanted[n]:.6g} in the first of them, not {stored[n]:.6g}"
            raise StoreDamage(Problem(what, str(store), got, wanted_one, "look at the disk, and run the same command again"))
