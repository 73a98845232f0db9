"""What ome-zarr and napari-ome-zarr make of stores: python viewing.py OUT FRAME STORE…, in an environment of its own.

Prints JSON, one entry a store, and writes one frame of every level of store n as OUT/<reader>-<n>-<level>.npy. No window is
opened: napari's plugin is called as napari calls it, and its layer is made without Qt.
"""

import json
import sys
import warnings
from contextlib import redirect_stdout
from importlib.metadata import version
from pathlib import Path

import numpy as np

PACKAGES = ("ome-zarr", "napari-ome-zarr", "napari", "zarr", "numpy")


def seen_by_ome_zarr(path: Path) -> tuple[list, dict]:
    """Its levels, and axes and transformations of each."""
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    location = parse_url(path, mode="r")
    assert location is not None, "ome-zarr finds no image"
    (node,) = Reader(location)()
    steps = [{step["type"]: step[step["type"]] for step in level} for level in node.metadata["coordinateTransformations"]]
    return node.data, {"axes": node.metadata["axes"], "name": node.metadata["name"], "levels": steps}


def seen_by_napari(path: Path) -> tuple[list, dict]:
    """The levels of its one layer, and where the layer lies."""
    from napari.layers import Image
    from napari_ome_zarr import napari_get_reader

    reader = napari_get_reader(str(path))
    assert reader is not None, "napari's plugin does not take it"
    ((data, said, kind),) = reader(str(path))
    layer = Image(data, **said)
    levels = list(layer.data) if layer.multiscale else [layer.data]
    facts = {"kind": kind, "labels": list(layer.axis_labels), "units": [str(unit) for unit in layer.units]}
    return levels, {**facts, "origin": list(layer.data_to_world([0] * 4)), "scale": list(layer.scale)}


def main(out: Path, frame: int, stores: list[Path]) -> dict:
    """All of it as plain data."""
    found = {"versions": {name: version(name) for name in PACKAGES}, "stores": []}
    for n, path in enumerate(stores):
        one = {}
        for reader, look in (("ome-zarr", seen_by_ome_zarr), ("napari", seen_by_napari)):
            levels, one[reader] = look(path)
            one[reader]["shapes"] = [list(level.shape) for level in levels]
            one[reader]["dtypes"] = [str(level.dtype) for level in levels]
            for number, level in enumerate(levels):
                np.save(out / f"{reader}-{n}-{number}.npy", np.asarray(level[frame]))
        found["stores"].append(one)
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with redirect_stdout(sys.stderr):  # the plugin prints what it reads
        said = main(Path(sys.argv[1]), int(sys.argv[2]), [Path(name) for name in sys.argv[3:]])
    print(json.dumps(said, default=float))
