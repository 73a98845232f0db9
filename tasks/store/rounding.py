"""How exactly voxels are kept: mantissa bits rounded away, then the store's type.

On the array, before it is written, and never as a filter of the store: every reader finds plain numbers, and zstd finds zeros.
"""

import numpy as np
from jaxtyping import Float, Float32


def kept(values: Float[np.ndarray, "n t t t"], dtype: str, keepbits: int | None) -> Float[np.ndarray, "n t t t"]:
    """Finite bricks as a store of this type keeps them: the same array where nothing is to be done.

    A value beyond the type's range becomes infinite; whoever stores it looks for that.
    """
    if keepbits is not None:
        values = bit_rounded(values.astype(np.float32, copy=False), keepbits)
    with np.errstate(over="ignore"):
        return values.astype(dtype, copy=False)


def bit_rounded(values: Float32[np.ndarray, "n t t t"], keepbits: int) -> Float32[np.ndarray, "n t t t"]:
    """Finite values rounded to `keepbits` (1…22) of float32's 23 explicit mantissa bits, to nearest, ties to even.

    |rounded - value| ≤ 2^-(keepbits+1) |value| for normal values (1.2e-38 and more); 0 stays 0, and no sign changes. Known as
    BitRound (Klöwer et al., Nat. Comput. Sci. 1 (2021) 713). Raises `ValueError` for another `keepbits`.
    """
    if not 1 <= keepbits <= 22:
        raise ValueError(f"keepbits must be 1…22 of float32's 23 mantissa bits, or None for all, got {keepbits}")
    dropped = np.uint32(23 - keepbits)
    below_half, mask = np.uint32((1 << (22 - keepbits)) - 1), np.uint32(0xFFFFFFFF) << dropped
    result = np.empty(values.shape, np.float32)
    # brick by brick, so that a brick stays in the cache through all five steps
    for value, bits in zip(np.ascontiguousarray(values).view(np.uint32), result.view(np.uint32), strict=True):
        np.right_shift(value, dropped, out=bits)
        bits &= np.uint32(1)  # the last kept bit: an exact half goes up only where it is 1
        bits += below_half
        bits += value  # a carry out of the mantissa raises the exponent, as it must
        bits &= mask
    return result
