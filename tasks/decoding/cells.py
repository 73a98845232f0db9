"""A periodic box from lengths and angles to three vectors."""

import numpy as np
from jaxtyping import Float64


def cell_of_lengths(lengths: Float64[np.ndarray, "3"], angles: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3 3"] | None:
    """Vectors a, b, c as rows, Å, from their lengths (Å) and the angles α, β, γ (degrees); None where they span no volume.

    a along x, b in the xy plane, as every MD program has it.
    """
    if not (np.isfinite(lengths).all() and np.isfinite(angles).all() and (lengths > 0).all()):
        return None
    if not ((angles > 0) & (angles < 180)).all():
        return None
    alpha, beta, gamma = (0.0 if angle == 90.0 else float(np.cos(np.radians(angle))) for angle in angles)
    sine = np.sqrt(1 - gamma**2)
    if sine <= 1e-6:
        return None
    y = (alpha - beta * gamma) / sine
    z2 = 1 - beta**2 - y**2
    if z2 <= 1e-6:
        return None
    a, b, c = lengths
    return np.array([[a, 0, 0], [b * gamma, b * sine, 0], [c * beta, c * y, c * np.sqrt(z2)]])
