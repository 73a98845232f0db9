"""A mixture accepts what broadcasts and refuses what would become a silent or NaN volume."""

import jax
import numpy as np
import pytest

from cryovox.tasks.scattering.parameters import PengScatteringFactorParameters
from cryovox.tasks.volume.gaussian_mixture import GaussianMixtureVolume

POINTS = np.arange(12.0).reshape(4, 3)


@pytest.mark.parametrize(
    ("amplitudes", "variances", "n_gaussians"),
    [(1.0, 2.0, 1), (np.ones(()), np.ones(4), 1), (np.ones(4), np.ones((4, 3)), 3), (np.ones((4, 3)), np.ones(4), 3)],
)
def test_scalars_and_one_and_two_dimensions_broadcast_together(amplitudes, variances, n_gaussians):
    volume = GaussianMixtureVolume(POINTS, amplitudes, variances)
    assert volume.amplitudes.shape == volume.variances.shape == (4, n_gaussians)


def test_b_factors_add_to_the_tables_widths():
    parameters = PengScatteringFactorParameters([6, 7, 8, 1])
    extra = np.array([0.0, 10.0, 20.0, 30.0])
    volume = GaussianMixtureVolume.from_tabulated_parameters(POINTS, parameters, extra)
    np.testing.assert_allclose(volume.variances, (parameters.b + extra[:, None]) / (8 * np.pi**2), rtol=1e-6)
    same = [GaussianMixtureVolume.from_tabulated_parameters(POINTS, parameters, b).variances for b in (None, 0.0)]
    np.testing.assert_array_equal(*same)


@pytest.mark.parametrize(
    ("positions", "amplitudes", "variances", "message"),
    [
        (POINTS[:, :2], 1.0, 1.0, r"\(M, 3\)"),
        (POINTS, np.ones(3), 1.0, "amplitudes"),
        (POINTS, np.ones((4, 2)), np.ones((4, 3)), "broadcast"),
        (POINTS, 1.0, 0.0, "variances must be finite and positive"),
        (POINTS, 1.0, np.array([1, 1, -1, 1.0]), r"variances .* got -1.0 at \(2, 0\)"),
        (np.where(POINTS == 5, np.nan, POINTS), 1.0, 1.0, r"positions .* at \(1, 2\)"),
        (POINTS, np.inf, 1.0, "amplitudes must be finite"),
    ],
)
def test_what_cannot_be_drawn_is_refused(positions, amplitudes, variances, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixtureVolume(positions, amplitudes, variances)


def test_b_factors_of_another_length_are_refused():
    with pytest.raises(ValueError, match="extra_b_factors"):
        GaussianMixtureVolume.from_tabulated_parameters(POINTS, PengScatteringFactorParameters([6] * 4), np.ones(3))


def test_a_volume_is_its_own_representation_and_may_be_made_inside_jit():
    volume = GaussianMixtureVolume(POINTS, 1.0, 1.0)
    assert volume.to_representation() is volume
    traced = jax.jit(lambda x: GaussianMixtureVolume(x, 1.0, 1.0))(POINTS)
    np.testing.assert_array_equal(traced.positions, volume.positions)
