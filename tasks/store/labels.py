"""What is known of every frame beforehand, read back from a store: its labels."""

import json
from pathlib import Path

import numpy as np
import zarr

from ..values import Label, Labels
from .template import FRAME_ARRAYS


def read_labels(path: Path) -> Labels:
    """The labels of the store at `path`, by name; without voxels or ledger. They are there from the store's first moment on.

    Raises `OSError`, `ValueError` or `KeyError` where they are not what was written.
    """
    columns = []
    for node in sorted((path / "frame").glob("*/zarr.json")):
        if (name := node.parent.name) not in FRAME_ARRAYS:
            attributes = json.loads(node.read_text("utf-8")).get("attributes", {})
            values = np.asarray(zarr.open_array(node.parent, mode="r")[:])
            columns.append(Label(name, values, tuple(attributes.get("categories", ()))))
    return Labels(tuple(columns))
