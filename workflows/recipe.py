"""A recipe: everything that decides a voxel, as frozen settings that each live beside the code that uses them.

Below it, the recipe as plain data: what the store keeps, what its hash covers, and which keys two recipes differ in.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_type_hints

from ..tasks.ensemble.base import Ensemble, EnsembleSettings
from ..tasks.ensemble.decoded import DecoderSettings
from ..tasks.ensemble.groups import AverageSettings
from ..tasks.ensemble.labels import LabelSettings
from ..tasks.ensemble.maps import MapGridSettings, MapSettings
from ..tasks.ensemble.poses import PoseSettings
from ..tasks.ensemble.settings import TrajectorySettings
from ..tasks.grid import GridSettings
from ..tasks.render.base import CertificateSettings, RenderSettings, ResampleSettings
from ..tasks.scattering.b_factors import ScatteringSettings
from ..tasks.store.layout import StoreSettings


@dataclass(frozen=True)
class Recipe:
    """What to compute: one YAML file. Each kind of ensemble has a recipe of its own; these keys are common to all."""

    ensemble: EnsembleSettings
    """Where the structures are and in what pose they are drawn."""
    store: StoreSettings
    """Where the volumes go."""
    workflow: Literal["volumes", "average"] = "volumes"
    """`volumes`: one scattering potential a frame. `average`: the same volumes are drawn and checked, and only their mean and
    variance are kept: `store.path` is a Zarr group with the stores `mean` and `variance`."""
    average: AverageSettings | None = None
    """With `workflow: average`: over which frames, and how much each counts; null is all frames alike."""
    labels: LabelSettings | None = None
    """What is known of each frame beside its volume (state, collective variable, split, weight): a table that joins `frame/`."""
    poses: PoseSettings | None = None
    """Turns the object of every frame by a rotation of its own, after placement; null leaves it as it is placed."""
    grid: GridSettings | MapGridSettings = GridSettings()
    """The voxels."""
    render: RenderSettings | ResampleSettings = RenderSettings()
    """How what is there becomes voxels."""
    certificate: CertificateSettings = CertificateSettings()
    """How the result is proven."""


@dataclass(frozen=True)
class TrajectoryRecipe(Recipe):
    """Atoms of a trajectory to volumes: `ensemble` has `topology` and `coordinates`."""

    ensemble: TrajectorySettings
    """Where the structures are and in what pose they are drawn."""
    scattering: ScatteringSettings = ScatteringSettings()
    """How strongly and how broadly atoms scatter."""
    grid: GridSettings = GridSettings()
    """The voxels."""
    render: RenderSettings = RenderSettings()
    """How atoms become voxels."""


@dataclass(frozen=True)
class DecoderRecipe(Recipe):
    """Whatever a class of the user's own decodes to volumes: `ensemble` has `parametrization`."""

    ensemble: DecoderSettings
    """The class and what it is given."""
    grid: GridSettings = GridSettings()
    """The voxels."""
    render: RenderSettings = RenderSettings()
    """How atoms become voxels; decoded voxels are only turned and fitted into the box."""


@dataclass(frozen=True)
class MapRecipe(Recipe):
    """One map in many poses: `ensemble` has `map`."""

    ensemble: MapSettings
    """The map."""
    grid: MapGridSettings = MapGridSettings()
    """The voxels."""
    render: ResampleSettings = ResampleSettings()
    """How the map's voxels become others."""


KINDS: tuple[type[Recipe], ...] = (TrajectoryRecipe, DecoderRecipe, MapRecipe)


def recipe_kind(written: dict[str, Any]) -> type[Recipe]:
    """The kind of recipe that a YAML mapping is meant to be, by the keys of its `ensemble`; a trajectory's where none tells."""
    ensemble = written.get("ensemble")
    keys = ensemble if isinstance(ensemble, dict) else {}
    return next((kind for kind in KINDS if get_type_hints(kind)["ensemble"].key in keys), TrajectoryRecipe)


FILES = (
    "ensemble.topology", "ensemble.coordinates", "ensemble.map", "ensemble.files", "ensemble.each", "poses.table", "labels.table",
)  # fmt: skip
"""Keys that name files."""

NEUTRAL = ("store.path", *FILES, "ensemble.sha256", "ensemble.on_bad_frame", "ensemble.max_bad_fraction")
"""Keys that cannot change a voxel: a store may move, and an input is known by its bytes, not by its path."""

GROWING = ("ensemble.frames", "ensemble.prune")
"""Keys that may be others where an ensemble has grown since its store was begun: which frames are taken."""

NAMED = ("ensemble.files", "ensemble.each")
"""Of these the names stay: they are arguments of a class."""

ABSENT = "(absent)"
"""What `differing` says of a key that one side does not have."""


def averaging(recipe: Recipe) -> AverageSettings | None:
    """What is to be averaged; None where the volumes themselves are kept."""
    return (recipe.average or AverageSettings()) if recipe.workflow == "average" else None


def to_plain(recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON has it, every default written out: what the store's attributes keep."""
    plain = json.loads(json.dumps(asdict(recipe)))
    del plain["average"]  # only where there is one: stores of volumes were begun before there were any
    return plain if (average := averaging(recipe)) is None else plain | {"average": asdict(average)}


def store_deciding(recipe: Recipe) -> dict[str, Any]:
    """The plain recipe without its neutral keys: two recipes that agree here make the same voxels of the same sources."""
    plain = to_plain(recipe)
    for path in NEUTRAL:
        section, key = path.split(".")
        path_or_paths = (plain[section] or {}).pop(key, None)
        if path in NAMED and path_or_paths is not None:
            plain[section][key] = sorted(path_or_paths)
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
