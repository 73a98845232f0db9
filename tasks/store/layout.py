"""The store on disk: which arrays, which shards, which attributes; created once, before any work."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class StoreSettings:
    """The recipe's `store`."""

    path: str
    """Folder of the Zarr store, relative to the working directory."""
    dtype: Literal["float32", "float16"] = "float32"
    """float16 halves the disk and costs 5e-4 relative accuracy."""
