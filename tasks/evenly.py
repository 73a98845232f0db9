"""A few of many, spread evenly: frames to look at, to certify, to show, to make again."""

import numpy as np
from jaxtyping import Int64


def evenly(n: int, most: int) -> Int64[np.ndarray, " k"]:
    """At most so many of the numbers below `n`, ascending, spread evenly; the first and the last are among them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))
