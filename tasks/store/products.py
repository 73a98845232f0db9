"""Mean and variance of an ensemble: two stores side by side in one Zarr group, whose root says of what they are.

```
average.zarr/    Zarr v3 group; attributes: `cryovox` (recipe, inputs, groups of frames, what was left out, certificate)
  mean/          a store like any other, in which a frame is a group
  variance/      likewise
```
The group is put in place as a whole, once both are closed, and never changed.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from ..errors import Problem, StoreDamage
from .layout import PRODUCTS, SCHEMA, check_schema

ROOT = "zarr.json"
KEY = "products"
"""Among the attributes: by it such a group is known."""


def text(attributes: dict[str, Any]) -> bytes:
    """The group's `zarr.json`. Raises `ValueError` for attributes that JSON cannot hold."""
    ours = {"schema": SCHEMA, KEY: list(PRODUCTS), **attributes}
    root = {"attributes": {"cryovox": ours}, "zarr_format": 3, "node_type": "group"}
    ours["digest"] = _digest(root)
    return json.dumps(root, indent=2, allow_nan=False).encode()


def read(path: Path) -> dict[str, Any] | None:
    """The group's attribute `cryovox`; None where there is no such group at `path`.

    Raises `Refusal` where another version wrote it, `StoreDamage` where it is not what was written.
    """
    try:
        root = json.loads((path / ROOT).read_text("utf-8"))
        ours = root["attributes"]["cryovox"]
        if not isinstance(ours, dict) or KEY not in ours:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if "schema" in ours:
        check_schema(path, ours)
    said = ours.pop("digest", None)
    if said != _digest(root):
        raise StoreDamage(
            Problem(
                "the root of the average has changed",
                str(path / ROOT),
                "other words",
                "what was written",
                "make it anew: the same `cryovox run` with --overwrite",
            )
        )
    return ours


def _digest(root: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(root, sort_keys=True, allow_nan=False).encode()).hexdigest()
