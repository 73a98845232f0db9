"""A recipe: everything that decides a voxel, as frozen settings that each live beside the code that uses them."""

from dataclasses import dataclass
from typing import Literal

from ..tasks.ensemble.base import EnsembleSettings
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
