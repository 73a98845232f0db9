"""An example of a parametrization: two latents a frame, decoded to the atoms of adenylate kinase, twisted and bent.

Named in latent-decoder.yaml as `latent_decoder:TwistAndBend`. What a class must have is `to_representation(rng_key)`, which gives
a volume: here a mixture of Gaussians, as easily the voxels of a network (`RealVoxelGridVolume`, voxels of `grid.voxel_size`).
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from cryovox import (
    AbstractVolumeParametrization,
    GaussianMixtureVolume,
    PengScatteringFactorParameters,
    read_atoms_from_pdb,
)


class TwistAndBend(AbstractVolumeParametrization, strict=True):
    """A structure twisted about its long axis (degrees from end to end) and bent across it (Å at its ends).

    `latent`: (twist, bend); without it both are drawn from the frame's random key, with standard deviations `twist` and `bend`.
    """

    positions: Float[Array, "m 3"]
    """Å, along the structure's own axes: the longest is x."""
    axes: Float[Array, "3 3"]
    parameters: PengScatteringFactorParameters
    spread: Float[Array, "2"]
    latent: Float[Array, "2"] | None

    def __init__(self, structure: Path, twist: float = 10.0, bend: float = 3.0, latent: ArrayLike | None = None):
        positions, atomic_numbers = read_atoms_from_pdb(structure)
        axes = np.linalg.svd(positions, full_matrices=False)[2]
        self.positions, self.axes = jnp.asarray(positions @ axes.T), jnp.asarray(axes)
        self.parameters = PengScatteringFactorParameters(atomic_numbers)
        self.spread = jnp.array([twist, bend])
        self.latent = None if latent is None else jnp.asarray(latent)

    def to_representation(self, rng_key: PRNGKeyArray | None = None) -> GaussianMixtureVolume:
        """The structure with its latent's twist and bend."""
        latent = self.latent
        if latent is None:
            if rng_key is None:
                raise ValueError("without a latent a random key is needed")
            latent = self.spread * jax.random.normal(rng_key, (2,))
        twist, bend = latent
        x, y, z = self.positions.T
        along = x / jnp.abs(x).max()
        angle = jnp.deg2rad(twist) / 2 * along
        turned_y = y * jnp.cos(angle) - z * jnp.sin(angle) + bend * along**2
        turned_z = y * jnp.sin(angle) + z * jnp.cos(angle)
        positions = jnp.stack([x, turned_y, turned_z], axis=1) @ self.axes
        return GaussianMixtureVolume.from_tabulated_parameters(positions, self.parameters, 30.0)
