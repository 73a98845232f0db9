"""The root's metadata: OME-NGFF for everyone's viewers, and what this program says of its store."""

import hashlib
import json
from typing import Any

import numpy as np
from jaxtyping import Float

from .layout import SCHEMA, StoreLayout, plain_layout
from .pyramid import first_centre

OWN = ("schema", "complete", "layout", "digest")
"""Attributes that this file writes; `digest` is the SHA-256 of all the others and of `ome`: nobody else holds the recipe."""


def root_text(layout: StoreLayout, attributes: dict[str, Any], times: Float[np.ndarray, " n"] | None = None) -> bytes:
    """The root's `zarr.json` of a store that is not complete. Raises `ValueError` for attributes that JSON cannot hold."""
    return _text(layout, attributes, times, complete=False)


def closed_text(layout: StoreLayout, attributes: dict[str, Any], times: Float[np.ndarray, " n"] | None) -> bytes:
    """The same of a store that is. `times`: ps, where they are times."""
    return _text(layout, attributes, times, complete=True)


def intact(root: dict[str, Any]) -> bool:
    """Whether the root is what was written, by its own digest."""
    ours = dict(root["attributes"]["cryovox"])
    said = ours.pop("digest", None)
    rest = {**root, "attributes": {**root["attributes"], "cryovox": ours}}
    return said == _digest(rest)


def _digest(root: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(root, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _text(layout: StoreLayout, attributes: dict[str, Any], times: Float[np.ndarray, " n"] | None, complete: bool) -> bytes:
    if taken := sorted({*OWN} & set(attributes)):
        raise ValueError(f"the store itself writes the attributes {taken}")
    ours = {"schema": SCHEMA, "complete": complete, "layout": plain_layout(layout), **attributes}
    root = {"attributes": {"ome": _ome(layout, times), "cryovox": ours}, "zarr_format": 3, "node_type": "group"}
    ours["digest"] = _digest(root)
    return json.dumps(root, indent=2, allow_nan=False).encode()


def _ome(layout: StoreLayout, times: np.ndarray | None) -> dict[str, Any]:
    """OME-NGFF 0.5 metadata. Array index to ps and Å; plain frame numbers where times are unknown or not evenly spaced."""
    clock = None if times is None else _even_steps(times)
    first, step = clock or (0.0, 1.0)
    axes: list[dict[str, str]] = [{"name": "t", "type": "time", **({"unit": "picosecond"} if clock else {})}]
    axes += [{"name": name, "type": "space", "unit": "angstrom"} for name in "zyx"]
    return {
        "version": "0.5",
        "multiscales": [
            {
                "name": "potential",
                "axes": axes,
                "datasets": [
                    {
                        "path": array.node,
                        "coordinateTransformations": [
                            {"type": "scale", "scale": [step, *(3 * [float(array.grid.voxel_size)])]},
                            {
                                "type": "translation",
                                "translation": [first, *(first_centre(layout.grid, level, axis) for axis in range(3))],
                            },
                        ],
                    }
                    for level, array in enumerate(layout.arrays)
                ],
            }
        ],
    }


def _even_steps(times: Float[np.ndarray, " n"]) -> tuple[float, float] | None:
    """(first time, step) in ps where all known times lie within a thousandth of a step of even spacing, else None."""
    known = np.flatnonzero(np.isfinite(times))
    if len(times) == 1 and len(known) == 1:
        return float(times[0]), 1.0
    if len(known) < 2:
        return None
    a, b = known[0], known[-1]
    step = float(times[b] - times[a]) / int(b - a)
    first = float(times[a]) - int(a) * step
    # trajectories keep single precision: even steps come back a little uneven
    even = step > 0 and np.all(np.abs(times[known] - (first + known * step)) <= 1e-3 * step)
    return (first, step) if even else None
