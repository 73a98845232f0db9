"""The brick engine: Gaussians of these atoms onto these bricks, pass after pass, each as large as the device has room for.

A pass cuts its bricks into tiles and gives groups of atoms to the kernel (`kernel.py`), in calls of fixed shapes. On a CPU
`cpu_bricks.py` draws the same faster.

**Order of sums.** A tile's groups are added one after the other in the atoms' order, wherever passes and calls begin, so bytes do
not depend on the capacity. A CPU's scatter adds in order. A GPU's would add by atomic operations, in any order, so there a call
is scattered in layers, none of which names a tile twice: XLA needs no atomics for those (`unique_indices`), and leaves them as
they are under `--xla_gpu_deterministic_ops`. That flag is for the matrix products, which XLA else chooses by timing them anew in
each process; it must be in XLA_FLAGS before JAX starts, and without it two workers may differ in the last bit. The kernel's
`render_traced`, which gradients go through, scatters at once: on a GPU its order is the flag's affair.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int

from ..grid import VoxelGrid
from ..values import Bricks
from . import kernel
from .base import Backend
from .binning import Groups, Touching, passes, touching
from .capacity import Capacity, halving, probed
from .device import DeviceBricks, Exporting, clipped, platform, positions_on_host, staging
from .layers import layers, times_before
from .windows import HalfWidths


@cache
def why_not_numba() -> str | None:
    """Why this machine draws without Numba, None where it need not: one that is installed may fail to be imported."""
    try:
        from . import cpu_bricks  # noqa: F401
    except (ImportError, OSError) as error:
        return str(error)
    return None


@dataclass(frozen=True)
class BrickEngine:
    """Renders batches of frames on one grid.

    `tolerance`: share of an atom's mass, and of its L2 norm, that may lie outside the window it is drawn in; 0 draws every atom
    everywhere. `capacity`: bricks held at once; more are drawn in further
    passes (by XLA: Numba holds all that a batch touches). `dtype`: of the arithmetic, float32 or float64 (which needs JAX's x64).
    `backend`: what draws; `auto` is Numba for float32 on a CPU, where it is usable, else XLA. Results do not depend on
    `capacity`, and on `backend` within the tolerance only. Raises `ValueError` for a tolerance outside 0…1, no capacity, another
    type, and for Numba where it is not usable or cannot draw the type.
    """

    grid: VoxelGrid
    tolerance: float
    capacity: int
    dtype: str = "float32"
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"tolerance must be 0, or a fraction below 1, got {self.tolerance}")
        if self.capacity < 1:
            raise ValueError(f"capacity must be 1 brick or more, got {self.capacity}")
        if self.dtype not in ("float32", "float64"):
            raise ValueError(f"dtype must be float32 or float64, got {self.dtype}")
        if self.backend not in get_args(Backend):
            raise ValueError(f"backend must be one of {', '.join(get_args(Backend))}, got {self.backend}")
        if self.backend == "numba" and self.dtype != "float32":
            raise ValueError("backend numba draws float32: xla draws everything")
        if self.backend == "numba" and (problem := why_not_numba()):
            raise ValueError(problem)

    @cached_property
    def drawn_by(self) -> Literal["numba", "xla"]:
        """What draws."""
        if self.backend != "auto":
            return self.backend
        fast = self.dtype == "float32" and jax.default_backend() == "cpu" and why_not_numba() is None
        return "numba" if fast else "xla"

    @cached_property
    def _windows(self) -> HalfWidths:
        return HalfWidths(self.tolerance)

    @property
    def name(self) -> str:
        """As the ledger remembers it."""
        return f"bricks/{self.drawn_by}/{self.dtype}"

    @property
    def overlaps(self) -> bool:
        """Whether `begin` returns before all is drawn and copied. On a CPU two batches would only share its cores and memory."""
        return self.drawn_by == "xla" and platform() != "cpu"

    @cached_property
    def _room(self) -> Capacity:
        """What fits, by all that has been seen; for as long as the engine lives."""
        return probed(self.capacity, np.dtype(self.dtype).itemsize * self.grid.brick**3)

    def render(
        self,
        positions: Float64[np.ndarray, "f m 3"],
        amplitudes: Float64[np.ndarray, "m k"],
        variances: Float64[np.ndarray, "m k"],
    ) -> Bricks:
        """F frames of M atoms with K Gaussians each: positions Å, amplitudes Å, variances Å².

        Raises `ValueError` for a position that is not finite, a variance that is not positive, or float64 without x64;
        `DeviceMemory` where the device does not hold one brick, `DeviceLost` where it fails.
        """
        return self.begin(positions, amplitudes, variances)()

    def begin(
        self,
        positions: Float64[np.ndarray, "f m 3"],
        amplitudes: Float64[np.ndarray, "m k"],
        variances: Float64[np.ndarray, "m k"],
    ) -> Callable[[], Bricks]:
        """`render` in two steps: all that occupies a card is given to it here, what is returned waits for the last copy.

        The card holds two buffers of `capacity` bricks, one that is copied while the next is drawn, and one more for every
        other batch that was begun and not waited for: three where two threads take turns. Raises what `render` raises, in either
        step. Several threads may begin; what memory was too small for is drawn again by whoever waits for it, never while
        another begins.
        """
        reach = self._reach(positions, amplitudes, variances)
        if self.drawn_by == "numba":
            # it brings Numba
            from .cpu_bricks import draw

            drawn = draw(self.grid, positions, amplitudes, variances, reach)
            return lambda: drawn
        work = touching(self.grid, positions, reach)
        begun = halving(
            self._room, lambda capacity: self._begun(work, capacity, positions, amplitudes, variances), "bricks of atoms"
        )
        if self.overlaps:
            return begun
        drawn = begun()
        return lambda: drawn

    def render_on_device(
        self,
        positions: Exporting,
        amplitudes: Float64[np.ndarray, "m k"],
        variances: Float64[np.ndarray, "m k"],
    ) -> DeviceBricks:
        """`render` for positions (f, M, 3) of any library that speaks DLPack, on any device; the voxels stay on JAX's.

        A copy of the positions goes to the host, where atoms are sorted into bricks; no voxel does. Drawn by XLA, whatever the
        `backend`. The device must hold all bricks of the batch, twice. Raises what `render` raises, and `ValueError` for
        positions of another type than float32 and float64, or of another shape.
        """
        points = positions_on_host(positions)
        work = touching(self.grid, points, self._reach(points, amplitudes, variances))

        def begun(capacity: int) -> Callable[[], Array]:
            drawn = [jnp.zeros((0, *[self.grid.brick] * 3), self.dtype)]  # where no atom is
            for groups in passes(work, capacity):
                buffer = self._summed(groups, capacity, points, amplitudes, variances)
                drawn.append(kernel.assembled(buffer, self.grid.brick)[: _count(groups)])
            values = clipped(self.grid, work.indices, jnp.concatenate(drawn))
            return lambda: jax.block_until_ready(values)

        values = halving(self._room, begun, "bricks of atoms")()
        return DeviceBricks(len(points), work.frames, work.indices, values)

    def _reach(self, positions: np.ndarray, amplitudes: np.ndarray, variances: np.ndarray) -> Float64[np.ndarray, " m"]:
        """Half-widths of the atoms' windows, Å, once all has been looked at."""
        n_atoms = positions.shape[1]
        if amplitudes.shape != variances.shape or len(amplitudes) != n_atoms:
            got = f"{n_atoms} positions, amplitudes {amplitudes.shape}, variances {variances.shape}"
            raise ValueError(f"positions (f, M, 3) need amplitudes and variances of one shape (M, K), got {got}")
        if not np.isfinite(positions).all():
            raise ValueError("positions must be finite (Å)")
        if jax.dtypes.canonicalize_dtype(self.dtype) != self.dtype:
            raise ValueError(f"JAX would quietly draw {self.dtype} in single precision: set jax_enable_x64")
        return self._windows(amplitudes, variances)

    def _begun(self, work: Touching, capacity: int, *atoms: np.ndarray) -> Callable[[], Bricks]:
        """Pass after pass; before the copy of one is waited for, the next is drawn."""
        brick, copies = self.grid.brick, staging(platform())
        values = np.empty((len(work.frames), brick, brick, brick), self.dtype)
        under_way: list[Callable[[], None]] = []

        def wait() -> None:
            while under_way:
                under_way.pop()()

        try:
            for groups in passes(work, capacity):
                buffer = self._summed(groups, capacity, *atoms)
                wait()
                under_way.append(copies.begin(kernel.assembled(buffer, brick), values[groups.bricks]))
                del buffer  # else it would live until the next has been drawn
        except BaseException:
            wait()  # the card still writes: what is dropped now would be given to others
            raise

        def finish() -> Bricks:
            wait()
            n_frames = atoms[0].shape[0]
            return Bricks(n_frames, work.frames, work.indices, _within(self.grid, work.indices, values))

        return finish

    def _summed(
        self, groups: Groups, capacity: int, positions: np.ndarray, amplitudes: np.ndarray, variances: np.ndarray
    ) -> Float[Array, "n t tt"]:
        """The tiles of one pass; the device may still be at work on them."""
        buffer, h = kernel.empty(capacity, self.grid.brick, self.dtype), self.grid.voxel_size
        if platform() == "cpu":
            for slots, *call in self._calls(groups, kernel.ON_CPU.size, capacity, positions, amplitudes, variances):
                buffer = kernel.add_groups(buffer, slots, *call, h)
            return buffer
        groups = _first_ones_first(groups)
        for slots, *call in self._calls(groups, kernel.ON_CARD.size, capacity, positions, amplitudes, variances):
            tiles = kernel.tiles_of(*call, buffer.shape[1], h)
            for layer in layers(slots, len(buffer)):
                buffer = kernel.add_layer(buffer, layer, tiles)
        return buffer

    def _calls(
        self, groups: Groups, size: int, capacity: int, positions: np.ndarray, amplitudes: np.ndarray, variances: np.ndarray
    ) -> Iterator[tuple]:
        """The kernel's arguments, padded to their fixed shape.

        The tile's place relative to the atom is taken in float64 here, so that float32 sees only numbers of a few Å.
        """
        flat, n_atoms = positions.reshape(-1, 3), positions.shape[1]
        nowhere = kernel.n_tiles(capacity, self.grid.brick)  # a slot past the buffer's end is dropped by the scatter
        for start in range(0, len(groups.slots), size):
            part = slice(start, start + size)
            atoms, filled = groups.atoms[part], groups.filled[part]
            species, room = atoms % n_atoms, [(0, size - len(atoms))]
            yield (
                np.pad(groups.slots[part].astype(np.int32), room, constant_values=nowhere),
                np.pad((groups.corners[part, None] - flat[atoms]).astype(self.dtype), room + [(0, 0)] * 2),
                np.pad((amplitudes[species] * filled[..., None]).astype(self.dtype), room + [(0, 0)] * 2),
                np.pad(variances[species].astype(self.dtype), room + [(0, 0)] * 2, constant_values=1.0),
            )


def _count(groups: Groups) -> int:
    return groups.bricks.stop - groups.bricks.start


def _first_ones_first(groups: Groups) -> Groups:
    """Every tile's first group, then every tile's second …: a call then has few layers."""
    order = np.argsort(times_before(groups.slots), kind="stable")
    slots, corners, atoms, filled = (array[order] for array in (groups.slots, groups.corners, groups.atoms, groups.filled))
    return Groups(groups.bricks, slots, corners, atoms, filled)


def _within(grid: VoxelGrid, indices: Int[np.ndarray, "n 3"], values: np.ndarray) -> np.ndarray:
    """Voxels of the last bricks that lie past the array's end are made 0."""
    if all(n % grid.brick == 0 for n in grid.shape):
        return values
    for value, index in zip(values, indices, strict=True):
        for axis, where in enumerate(grid.brick_slices(index)):
            np.moveaxis(value, axis, 0)[where.stop - where.start :] = 0
    return values
