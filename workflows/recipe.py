"""A recipe: everything that decides a voxel, as frozen settings that each live beside the code that uses them.

Below it, the recipe as plain data: what the store keeps, what its hash covers, and which keys two recipes differ in.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..tasks.ensemble.base import Ensemble, EnsembleSettings
from ..tasks.grid import GridSettings
from ..tasks.render.base import CertificateSettings, RenderSettings
from ..tasks.scattering.b_factors import ScatteringSettings
from ..tasks.store.layout import StoreSettings


@dataclass(frozen=True)
class Recipe:
    """What to compute: one YAML file."""

    ensemble: EnsembleSettings
    """Where the structures are and in what pose they are drawn."""
    store: StoreSettings
    """Where the volumes go."""
    workflow: Literal["volumes"] = "volumes"
    """`volumes`: one scattering potential a frame."""
    scattering: ScatteringSettings = ScatteringSettings()
    """How strongly and how broadly atoms scatter."""
    grid: GridSettings = GridSettings()
    """The voxels."""
    render: RenderSettings = RenderSettings()
    """How atoms become voxels."""
    certificate: CertificateSettings = CertificateSettings()
    """How the result is proven."""


NEUTRAL = (("store", "path"), ("ensemble", "topology"), ("ensemble", "coordinates"))
"""Keys that cannot change a voxel: a store may move, and an input is known by its bytes, not by its path."""

ABSENT = "(absent)"
"""What `differing` says of a key that one side does not have."""


def to_plain(recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON has it, every default written out: what the store's attributes keep."""
    return json.loads(json.dumps(asdict(recipe)))


def store_deciding(recipe: Recipe) -> dict[str, Any]:
    """The plain recipe without its neutral keys: two recipes that agree here make the same voxels of the same sources."""
    plain = to_plain(recipe)
    for section, key in NEUTRAL:
        del plain[section][key]
    return plain


def sources_of(ensemble: Ensemble) -> list[dict[str, Any]]:
    """The identity of the files that the volumes come from, as the store keeps it."""
    return [asdict(source) for source in ensemble.sources]


def recipe_hash(recipe: Recipe) -> str:
    """SHA-256 of `store_deciding`, as canonical JSON (sorted keys, no spaces, UTF-8)."""
    text = json.dumps(store_deciding(recipe), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def differing(a: dict[str, Any], b: dict[str, Any]) -> list[tuple[str, object, object]]:
    """(dotted key, value in `a`, value in `b`) wherever two plain recipes differ, sorted; sections are compared key by key."""
    found: list[tuple[str, object, object]] = []
    for key in sorted({*a, *b}):
        one, other = a.get(key, ABSENT), b.get(key, ABSENT)
        if isinstance(one, dict) and isinstance(other, dict):
            found += [(f"{key}.{below}", x, y) for below, x, y in differing(one, other)]
        elif one != other:
            found.append((key, one, other))
    return found
