"""What a volume is, before anyone asks how it is drawn: two interfaces, as the pages in the field name them."""

from abc import abstractmethod
from typing import TypeVar

import equinox as eqx
from jaxtyping import PRNGKeyArray

from .names import Advises
from .pose import AbstractPose

V = TypeVar("V", bound="AbstractVolumeRepresentation")


class AbstractVolumeParametrization(Advises, eqx.Module, strict=True):
    """Whatever can be turned into a volume: a decoder of latents, a normal-mode model, or a volume itself."""

    @abstractmethod
    def to_representation(self, rng_key: PRNGKeyArray | None = None) -> "AbstractVolumeRepresentation":
        """The volume to draw; `rng_key` feeds stochastic parametrizations."""


class AbstractVolumeRepresentation(AbstractVolumeParametrization, strict=True):
    """A volume in a form that can be drawn, in a pose."""

    def to_representation(self: V, rng_key: PRNGKeyArray | None = None) -> V:  # noqa: ARG002  (the interface's argument)
        """Itself: there is nothing to make of it."""
        return self

    @abstractmethod
    def rotate_to_pose(self, pose: AbstractPose, inverse: bool = False) -> "AbstractVolumeRepresentation":
        """The object rotated by the pose's R, or by Rᵀ where `inverse`; amplitudes and voxel values do not change."""


class AbstractAtomVolume(AbstractVolumeRepresentation, strict=True):
    """A volume made of points, each with a profile of its own."""

    @abstractmethod
    def translate_to_pose(self, pose: AbstractPose) -> "AbstractAtomVolume":
        """The object moved by the pose's offset (x, y, z), Å; the offset is never rotated."""
