"""The job: a recipe with everything resolved, frozen, sent once to each worker; and its name."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from ..tasks.ensemble.base import Ensemble
from ..tasks.render.certificate import Limits
from ..tasks.store.atomic import Writer
from ..tasks.store.layout import StoreLayout
from .footprint import Footprint
from .recipe import Recipe, sources_of, store_deciding


@dataclass(frozen=True, eq=False)
class Job:
    """All that decides a voxel or says where it goes."""

    recipe: Recipe
    ensemble: Ensemble
    layout: StoreLayout
    store: Path
    """Absolute."""
    lock: str
    """Identity of the run lock."""
    footprint: Footprint
    limits: Limits
    """What no frame's error may exceed."""

    @property
    def writer(self) -> Writer:
        """Who may write into the store, as long as the lock is this one."""
        return Writer.of(self.store, self.lock)

    @cached_property
    def key(self) -> str:
        """Sixteen hexadecimal digits, equal for equal volumes in one store."""
        decided = {
            "recipe": store_deciding(self.recipe),
            "sources": sources_of(self.ensemble),
            "grid": asdict(self.layout.grid),
            "store": str(self.store),
        }
        return hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()[:16]
