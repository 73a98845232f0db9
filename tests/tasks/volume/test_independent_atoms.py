"""Independent atoms take pytrees of equal structure, move as other atoms do, and refuse what would be drawn as nonsense."""

import jax
import numpy as np
import pytest

from cryovox.tasks.scattering.parameters import LobatoScatteringFactorParameters, PengScatteringFactorParameters
from cryovox.tasks.volume.gaussian_mixture import GaussianMixtureVolume
from cryovox.tasks.volume.independent_atoms import IndependentAtomVolume
from cryovox.tasks.volume.operators import FourierGaussian
from cryovox.tasks.volume.pose import EulerAnglePose

C, O = np.random.default_rng(0).normal(size=(2, 5, 3)) * 6  # noqa: E741  (carbon, oxygen)
PENG = PengScatteringFactorParameters([6, 8])


@pytest.mark.parametrize("kind", [PengScatteringFactorParameters, LobatoScatteringFactorParameters])
def test_each_entry_gets_the_factor_of_its_atomic_number(kind):
    parameters = kind([6, 8])
    volume = IndependentAtomVolume.from_tabulated_parameters((C, O[:2]), parameters)
    for factor, a, b in zip(volume.scattering_factors, parameters.a, parameters.b, strict=True):
        assert factor.a == tuple(a)
        assert factor.b == tuple(b)
    assert [leaf.shape for leaf in volume.positions] == [(5, 3), (2, 3)]
    assert volume.b_factors is None


@pytest.mark.usefixtures("x64")
def test_poses_move_them_as_they_move_a_gaussian_mixture():
    """F6 and the translation, on every leaf."""
    pose = EulerAnglePose(27, 63, -41, offset=(2.0, -1.0, 3.0))
    volume = IndependentAtomVolume({"C": C, "O": O}, {"C": FourierGaussian(), "O": FourierGaussian(2.0)})
    for name, points in (("C", C), ("O", O)):
        mixture = GaussianMixtureVolume(points, 1.0, 1.0)
        for inverse in (False, True):
            expected = mixture.rotate_to_pose(pose, inverse).positions
            np.testing.assert_allclose(volume.rotate_to_pose(pose, inverse).positions[name], expected, rtol=0, atol=1e-14)
        moved = volume.translate_to_pose(pose).positions[name]
        np.testing.assert_allclose(moved, mixture.translate_to_pose(pose).positions, rtol=0, atol=1e-14)
        back = volume.rotate_to_pose(pose).rotate_to_pose(pose, inverse=True)
        np.testing.assert_allclose(back.positions[name], points, rtol=0, atol=1e-14)


def test_b_factors_of_elements_and_of_atoms_add():
    per_atom = (np.arange(5.0), np.arange(5.0) * 2)
    volume = IndependentAtomVolume.from_tabulated_parameters((C, O), PENG, b_factor_by_element=(10.0, 20.0), b_factors=per_atom)
    np.testing.assert_array_equal(volume.b_factors[0], 10 + np.arange(5.0))
    np.testing.assert_array_equal(volume.b_factors[1], 20 + 2 * np.arange(5.0))
    for number in (30.0, np.float64(30), (30.0, 30.0)):
        volume = IndependentAtomVolume.from_tabulated_parameters((C, O), PENG, b_factor_by_element=number)
        assert [float(b) for b in volume.b_factors] == [30.0, 30.0]


def test_a_volume_is_its_own_representation_and_passes_through_jit():
    volume = IndependentAtomVolume(C, FourierGaussian(), b_factors=np.ones(5), weights=0.5)
    assert volume.to_representation() is volume
    same = jax.jit(lambda v: v.to_representation())(volume)
    assert jax.tree.structure(same) == jax.tree.structure(volume)
    made = jax.jit(lambda x: IndependentAtomVolume((x,), (FourierGaussian(),)))(C)
    np.testing.assert_array_equal(made.positions[0], np.float32(C))


G = FourierGaussian()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IndependentAtomVolume((C, O), (G,)), "equal pytrees"),
        (lambda: IndependentAtomVolume({"C": C}, {"O": G}), "equal pytrees"),
        (lambda: IndependentAtomVolume((C, O), (G, G), weights=(np.ones(5),)), "positions and weights must be equal"),
        (lambda: IndependentAtomVolume((C, O), (G, G), b_factors=(np.ones(5), np.ones(4))), r"b_factors .* leaf 1"),
        (lambda: IndependentAtomVolume((C[:, :2],), (G,)), r"\(m, 3\)"),
        (
            lambda: IndependentAtomVolume((np.where(C[2, 1] == C, np.nan, C),), (G,)),
            r"positions must be finite, got nan at \(2, 1\)",
        ),
        (lambda: IndependentAtomVolume((C,), (G,), weights=np.inf), "weights must be finite"),
        (lambda: IndependentAtomVolume((C,), (G,), b_factors=-1.0), "negative"),
        (lambda: IndependentAtomVolume.from_tabulated_parameters((C,), PENG), "1 entries .* 2 scattering factors"),
        (lambda: IndependentAtomVolume.from_tabulated_parameters((C, O), PENG, b_factor_by_element=(1.0,)), "tuple of 2"),
        (lambda: IndependentAtomVolume.from_tabulated_parameters((C, O), PENG, b_factors=(1.0,)), "equal pytrees"),
    ],
)
def test_what_does_not_fit_together_is_refused(make, message):
    """I: unequal pytrees, wrong lengths, positions that are not finite."""
    with pytest.raises(ValueError, match=message):
        make()
