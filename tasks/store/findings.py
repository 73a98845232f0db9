"""What is wrong with a store: each damage a value that names its file, its frames, what was there and what heals it."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What is damaged."""

    ROOT = "root"
    """The store's own `zarr.json`."""
    METADATA = "metadata"
    """Any other small file: an array's `zarr.json`, coordinates, labels, what was gathered from the ledger."""
    RECORD = "record"
    """A shard's record in the ledger."""
    SHARD = "shard"
    """A shard's file, or a frame in it."""
    STRANGER = "stranger"
    """What nobody knows: a file, a folder, a link."""


class Cure(StrEnum):
    """What `--repair` does about it."""

    REMAKE = "make its frames anew"
    RENEW = "write the metadata anew"
    REMOVE = "remove it"
    ASIDE = "move it out of the store"
    BY_HAND = "look at it by hand"


@dataclass(frozen=True)
class Finding:
    """One damage."""

    kind: Kind
    path: str
    """Relative to the store."""
    what: str
    got: str
    wanted: str
    cure: Cure
    shard: int | None = None
    frames: tuple[int, int] | None = None
    """First and last of the shard's."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "frames": None if self.frames is None else list(self.frames)}
