"""Frames of a store as plain NumPy arrays, for whoever asks for whole volumes. Silence is not zeros: the ledger is asked."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
from jaxtyping import Float, Float64, Int

from ..values import FrameStatus
from . import ledger
from .layout import StoreLayout, read_layout


def read_attributes(path: Path) -> dict[str, Any]:
    """The root attributes of the store at `path`: `ome` and `cryovox`. Raises `Refusal` where it is no store of ours."""
    read_layout(path)
    return json.loads((path / "zarr.json").read_text("utf-8"))["attributes"]


def read_frames(
    path: str | Path, frames: Iterable[int] | Int[np.ndarray, " f"], *, allow_missing: bool = False
) -> Float[np.ndarray, "f z y x"]:
    """Whole volumes, Å⁻², in the store's type and in the order asked for. Costs the box: f · n³ voxels.

    Raises `ValueError` for a frame that the ensemble has not, or that is pending, skipped or failed (with `allow_missing`
    these are read as they lie, usually 0); `StoreDamage` where a shard is not what its record says; `Refusal` where `path` is
    no store of ours.
    """
    path = Path(path)
    layout, _ = read_layout(path)
    numbers = [int(frame) for frame in frames]
    _check(path, layout, numbers, allow_missing)
    if not numbers:
        return np.zeros((0, *layout.grid.shape), layout.dtype)
    return np.asarray(_potential(path)[np.array(numbers)].read().result())


def read_projection(path: Path, frame: int) -> Float64[np.ndarray, "y x"]:
    """One volume's sum over z, Å⁻², a layer of bricks at a time: memory follows the layer, not the box.

    Raises as `read_frames` does.
    """
    layout, _ = read_layout(path)
    _check(path, layout, [frame], allow_missing=False)
    volume, total = _potential(path)[frame], np.zeros(layout.grid.shape[1:])
    for start in range(0, layout.grid.shape[0], layout.grid.brick):
        layer = volume[start : min(start + layout.grid.brick, layout.grid.shape[0])]
        total += np.asarray(layer.read().result()).sum(axis=0, dtype=float)
    return total


def _potential(path: Path) -> ts.TensorStore:
    return ts.open({"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path / "potential")}}, read=True).result()


def _check(path: Path, layout: StoreLayout, frames: list[int], allow_missing: bool) -> None:
    outside = [frame for frame in frames if not 0 <= frame < layout.n_frames]
    if outside:
        raise ValueError(f"no frame {outside[0]}: {path} has frames 0…{layout.n_frames - 1}")
    missing = _missing(path, layout, frames)
    if missing and not allow_missing:
        number, text = next(iter(missing.items()))
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise ValueError(f"frame {number}{more} of {path} is {text}; allow_missing=True reads what is there")


def _missing(path: Path, layout: StoreLayout, frames: list[int]) -> dict[int, str]:
    """Those of `frames` that are not done, and what the ledger says of them. Raises `StoreDamage`."""
    missing = {}
    known = {}
    for frame in frames:
        shard = frame // layout.frames_per_shard
        if shard not in known:
            known[shard] = ledger.read(path, layout, shard)
            if known[shard] is not None:
                ledger.check_size(path, layout, known[shard])
        if known[shard] is None:
            missing[frame] = "pending"
            continue
        record = known[shard].frames[frame - known[shard].first_frame]
        if record.status is not FrameStatus.DONE:
            missing[frame] = f"{record.status.name.lower()}: {record.reason}" if record.reason else record.status.name.lower()
    return missing
