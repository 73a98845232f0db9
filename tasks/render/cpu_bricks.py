"""The brick engine's fast backend on a CPU: the same Gaussians in the same windows, compiled by Numba, sixteen voxels at a time.

`bricks.py` is the definition. Here each atom goes straight onto the bricks: its window is cut into *pieces* of up to 15 voxels
an axis, none across a brick's face; a row of a piece is one vector, so a row of up to 15 voxels costs as much as one of 1.

What LLVM makes of plain loops over rows is not to be relied on (it cannot know that the bricks and the profiles do not overlap,
and then adds one voxel at a time: 9.0 instead of 1.5 ms a frame of AdK), so the vectors are a type of their own. They lie in
this file because Numba's cache looks at the date of the kernel's file alone.
"""

from typing import Any, ClassVar, no_type_check

import numpy as np
from jaxtyping import Float64

from ..grid import VoxelGrid
from ..values import Bricks

try:
    import numba
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic, models, register_model
except ImportError as error:
    raise ImportError(f"Numba is not usable ({error}): `backend: xla` draws the same") from error

LANES = 16
"""Voxels of a vector: one register with AVX-512, two with AVX2, four with NEON."""
PIECE = LANES - 1
"""Voxels of a piece along an axis: a vector holds their faces, one more."""
TERMS = 5
"""Gaussians that are added to a row at once; a table's five, and the registers of AVX2 hold no more."""

_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_ORDER = ir.VectorType(ir.IntType(32), LANES)


class _VectorType(types.Type):
    def __init__(self) -> None:
        super().__init__(name="float32x16")


VECTOR = _VectorType()


@register_model(_VectorType)
class _VectorModel(models.PrimitiveModel):
    @no_type_check
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _FLOATS)


def _place(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    first = builder.gep(context.make_array(kind)(context, builder, array).data, [index])
    return builder.bitcast(first, _FLOATS.as_pointer())


@intrinsic
@no_type_check
def _load(typing, array, index):  # noqa: ARG001
    """Sixteen numbers of a flat float32 array."""

    def code(context, builder, signature, given):
        return builder.load(_place(context, builder, signature.args[0], *given), align=4)

    return VECTOR(array, types.intp), code


@intrinsic
@no_type_check
def _store(typing, array, index, value):  # noqa: ARG001
    """Puts them back."""

    def code(context, builder, signature, given):
        builder.store(given[2], _place(context, builder, signature.args[0], *given[:2]), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, VECTOR), code


@intrinsic
@no_type_check
def _all(typing, number):  # noqa: ARG001
    """One number in every lane."""

    def code(context, builder, signature, given):  # noqa: ARG001
        undefined = ir.Constant(_FLOATS, ir.Undefined)
        first = builder.insert_element(undefined, given[0], ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(first, undefined, ir.Constant(_ORDER, [0] * LANES))

    return VECTOR(types.float32), code


@intrinsic
@no_type_check
def _count(typing):  # noqa: ARG001
    """0, 1, … 15."""

    def code(context, builder, signature, given):  # noqa: ARG001
        return ir.Constant(_FLOATS, [float(lane) for lane in range(LANES)])

    return VECTOR(), code


@intrinsic
@no_type_check
def _steps(typing, vector):  # noqa: ARG001
    """What each lane lacks to the next; 0 in the last."""

    def code(context, builder, signature, given):  # noqa: ARG001
        following = ir.Constant(_ORDER, [*range(1, LANES), LANES - 1])
        return builder.fsub(builder.shuffle_vector(given[0], ir.Constant(_FLOATS, ir.Undefined), following), given[0])

    return VECTOR(VECTOR), code


def _arithmetic(name: str, n: int) -> Any:
    """An instruction of LLVM on vectors, or an intrinsic function of its."""
    arguments = (VECTOR,) * n

    @no_type_check
    def code(context, builder, signature, given):  # noqa: ARG001
        if name in ("fmul", "fdiv"):
            return getattr(builder, name)(*given)
        function = ir.FunctionType(_FLOATS, [_FLOATS] * n)
        return builder.call(cgutils.get_or_insert_function(builder.module, function, f"llvm.{name}.v{LANES}f32"), given)

    if n == 2:
        return intrinsic(no_type_check(lambda typing, a, b: (VECTOR(*arguments), code)))  # noqa: ARG005
    return intrinsic(no_type_check(lambda typing, a, b, c: (VECTOR(*arguments), code)))  # noqa: ARG005


_mul, _div, _least, _largest = (_arithmetic(name, 2) for name in ("fmul", "fdiv", "minnum", "maxnum"))
_mul_add = _arithmetic("fma", 3)

_END = np.float32(3.85)
"""Beyond it erf is 1 to 5e-8."""
_P = tuple(map(np.float32, (1.128379055, 0.1899667393, 0.05274698724, 0.003762297287, 0.0002875956399, 2.090590074e-06)))
_Q = tuple(map(np.float32, (1.0, 0.5016856727, 0.1139792388, 0.01495991612, 0.001166924425, 3.86512016e-05)))
"""erf(x) = x P(x²)/Q(x²), fitted on 0…3.85 to 1.2e-8 (weighted least squares of our own); in float32 it is within 4e-7."""


@numba.njit(inline="always")
@no_type_check
def _erf(x):
    x = _least(_largest(x, _all(-_END)), _all(_END))
    t = _mul(x, x)
    p, q = _all(_P[5]), _all(_Q[5])
    p, q = _mul_add(p, t, _all(_P[4])), _mul_add(q, t, _all(_Q[4]))
    p, q = _mul_add(p, t, _all(_P[3])), _mul_add(q, t, _all(_Q[3]))
    p, q = _mul_add(p, t, _all(_P[2])), _mul_add(q, t, _all(_Q[2]))
    p, q = _mul_add(p, t, _all(_P[1])), _mul_add(q, t, _all(_Q[1]))
    p, q = _mul_add(p, t, _all(_P[0])), _mul_add(q, t, _all(_Q[0]))
    return _div(_mul(x, p), q)


@numba.njit(inline="always")
@no_type_check
def _profile(first, n, h, rate):
    """Twice a Gaussian's integral over each of `n` voxels, the first face `first` Å from its centre; 0 in all other lanes."""
    faces = _mul_add(_least(_count(), _all(np.float32(n))), _all(h), _all(first))
    return _steps(_erf(_mul(faces, _all(rate))))


@numba.njit(inline="always")
@no_type_check
def _window(place, reach, n):
    """First and last voxel of a window along an axis, inside the box; as in `binning.touching`."""
    # bounded first: what a machine makes of an integer that is too large is its own affair
    first, last = max(np.floor(place - reach + 0.5), 0.0), min(np.ceil(place + reach - 0.5), n - 1.0)
    return int(min(first, float(n))), int(max(last, -1.0))


@no_type_check
def _touch(positions, reach, h, shape, brick, touched):
    """Marks the bricks (frame, z, y, x) that each atom's window reaches."""
    frames, atoms = positions.shape[:2]
    for f in range(frames):
        for i in range(atoms):
            z0, z1 = _window(positions[f, i, 2] / h + shape[0] // 2, reach[i], shape[0])
            y0, y1 = _window(positions[f, i, 1] / h + shape[1] // 2, reach[i], shape[1])
            x0, x1 = _window(positions[f, i, 0] / h + shape[2] // 2, reach[i], shape[2])
            if z0 <= z1 and y0 <= y1 and x0 <= x1:
                touched[f, z0 // brick : z1 // brick + 1, y0 // brick : y1 // brick + 1, x0 // brick : x1 // brick + 1] = True


@no_type_check
def _draw(positions, amplitudes, rates, reach, h, shape, brick, slots, values):
    """Adds every atom to the bricks `values` (flat): brick (z, y, x) of frame f is the `slots[f, z, y, x]`th of them."""
    frames, atoms = positions.shape[:2]
    terms = amplitudes.shape[1]
    most = max(shape) // PIECE + max(shape) // brick + 2
    starts, sizes, counts = np.empty((3, most), np.int64), np.empty((3, most), np.int64), np.empty(3, np.int64)
    profiles = np.empty(3 * most * terms * LANES, np.float32)  # (axis, piece, Gaussian, lane), z times the amplitude
    width = np.float32(h)
    for f in range(frames):
        for i in range(atoms):
            for axis in range(3):
                place = positions[f, i, 2 - axis] / h + shape[axis] // 2
                first, last = _window(place, reach[i], shape[axis])
                count = 0
                while first <= last:
                    n = min(last - first + 1, PIECE, brick - first % brick)
                    starts[axis, count], sizes[axis, count] = first, n
                    # the distance is taken in double precision: single sees only numbers of a few Å
                    face = np.float32((first - 0.5 - place) * h)
                    for k in range(terms):
                        profile = _profile(face, n, width, rates[i, k])
                        if axis == 0:
                            profile = _mul(profile, _all(amplitudes[i, k]))
                        _store(profiles, ((axis * most + count) * terms + k) * LANES, profile)
                    first += n
                    count += 1
                counts[axis] = count
            for a in range(counts[0]):
                for b in range(counts[1]):
                    for c in range(counts[2]):
                        z, y, x = starts[0, a], starts[1, b], starts[2, c]
                        slot = slots[f, z // brick, y // brick, x // brick]
                        corner = ((slot * brick + z % brick) * brick + y % brick) * brick + x % brick
                        for k in range(0, terms, TERMS):
                            pz = (a * terms + k) * LANES
                            py = ((most + b) * terms + k) * LANES
                            px = ((2 * most + c) * terms + k) * LANES
                            _piece(values, corner, brick, profiles, pz, py, px, sizes[0, a], sizes[1, b])


@numba.njit(inline="always")
@no_type_check
def _piece(values, corner, brick, profiles, pz, py, px, n_z, n_y):
    """Adds five Gaussians to a piece. Lanes past its end are 0: they leave what follows the row as it is."""
    x0, x1, x2, x3, x4 = (
        _load(profiles, px),
        _load(profiles, px + LANES),
        _load(profiles, px + 2 * LANES),
        _load(profiles, px + 3 * LANES),
        _load(profiles, px + 4 * LANES),
    )
    for y in range(n_y):
        q0 = _mul(_all(profiles[py + y]), x0)
        q1 = _mul(_all(profiles[py + y + LANES]), x1)
        q2 = _mul(_all(profiles[py + y + 2 * LANES]), x2)
        q3 = _mul(_all(profiles[py + y + 3 * LANES]), x3)
        q4 = _mul(_all(profiles[py + y + 4 * LANES]), x4)
        row = corner + y * brick
        for z in range(n_z):
            voxels = _load(values, row)
            voxels = _mul_add(_all(profiles[pz + z]), q0, voxels)
            voxels = _mul_add(_all(profiles[pz + z + LANES]), q1, voxels)
            voxels = _mul_add(_all(profiles[pz + z + 2 * LANES]), q2, voxels)
            voxels = _mul_add(_all(profiles[pz + z + 3 * LANES]), q3, voxels)
            voxels = _mul_add(_all(profiles[pz + z + 4 * LANES]), q4, voxels)
            _store(values, row, voxels)
            row += brick * brick


class _Compiled:
    """By Numba, without the GIL; kept on disk for the next process where there is a place and room for it."""

    def __init__(self, function: Any):
        self._function = function
        try:
            self._fast = numba.njit(cache=True, **self._OPTIONS)(function)
        except RuntimeError:  # neither beside this file nor in the user's cache may be written
            self._fast = numba.njit(**self._OPTIONS)(function)

    _OPTIONS: ClassVar = {"nogil": True, "error_model": "numpy"}

    def __call__(self, *arguments: Any) -> None:
        try:
            self._fast(*arguments)
        except OSError:  # of the cache, before anything was drawn: the arithmetic itself opens no file
            self._fast = numba.njit(**self._OPTIONS)(self._function)
            self._fast(*arguments)


_touch_all, _draw_all = _Compiled(_touch), _Compiled(_draw)


def draw(
    grid: VoxelGrid,
    positions: Float64[np.ndarray, "f m 3"],
    amplitudes: Float64[np.ndarray, "m k"],
    variances: Float64[np.ndarray, "m k"],
    half_widths: Float64[np.ndarray, " m"],
) -> Bricks:
    """F frames of M atoms with K Gaussians each, float32: positions Å (x, y, z), amplitudes Å, variances Å², half-widths Å.

    Bricks and windows are those of `binning.touching`. Numbers are not looked at: `BrickEngine` has done so. One thread; a
    voxel's terms are added in the order of the atoms, so the bytes depend on nothing else.
    """
    h, shape, brick = grid.voxel_size, np.array(grid.shape), grid.brick
    reach = half_widths / h
    room = [(0, 0), (0, -amplitudes.shape[1] % TERMS)]
    strengths = np.pad((amplitudes / (2 * h) ** 3).astype(np.float32), room)
    rates = np.pad((1 / np.sqrt(2 * variances)).astype(np.float32), room, constant_values=1.0)
    positions = np.ascontiguousarray(positions)
    touched = np.zeros((len(positions), *grid.n_bricks), bool)
    _touch_all(positions, reach, h, shape, brick, touched)
    frames, *indices = np.nonzero(touched)
    slots = np.cumsum(touched).reshape(touched.shape) - 1
    values = np.zeros(len(frames) * brick**3 + LANES, np.float32)  # the last row is loaded to the vector's end
    _draw_all(positions, strengths, rates, reach, h, shape, brick, slots, values)
    bricks = values[: len(frames) * brick**3].reshape(-1, brick, brick, brick)
    return Bricks(len(positions), frames, np.stack(indices, axis=1), bricks)
