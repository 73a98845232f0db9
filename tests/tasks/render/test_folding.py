"""The truncation is estimated before it is made: to a factor of three of what it is, and never hopefully."""

import numpy as np
import pytest

from cryovox.tasks.render.folding import MOST, Scatterers, TruncationWarning, choose, spectral_power, truncation
from cryovox.tasks.scattering.parameters import LobatoScatteringFactorParameters, PengScatteringFactorParameters
from cryovox.tasks.volume.operators import LobatoScatteringFactor, PengScatteringFactor

NUMBERS, COUNTS = [1, 6, 7, 8], [59, 48, 12, 19]  # 1uao, nearly


def power(b_factor, kind=PengScatteringFactorParameters):
    factor = PengScatteringFactor if kind is PengScatteringFactorParameters else LobatoScatteringFactor
    rows = kind(NUMBERS)
    of = [factor(a, b) for a, b in zip(rows.a, rows.b, strict=True)]
    return spectral_power([Scatterers(f, np.full(n, b_factor), np.ones(n)) for f, n in zip(of, COUNTS, strict=True)])


@pytest.mark.parametrize(
    ("h", "b_factor", "u", "measured"),
    [
        (1.0, 0.0, 1, 2.9e-1), (1.0, 20.0, 1, 4.9e-2), (1.0, 50.0, 1, 4.8e-3), (2.0, 0.0, 1, 0.30), (2.0, 20.0, 1, 0.18),
        (2.0, 50.0, 1, 8.6e-2), (0.5, 0.0, 1, 0.21), (0.5, 20.0, 1, 4.8e-4), (0.5, 50.0, 1, 1.6e-7),
        (1.0, 20.0, 2, 4e-5), (1.0, 50.0, 2, 6e-9), (1.0, 20.0, 3, 1.2e-7),
    ],
)  # fmt: skip
def test_the_estimate_is_what_the_contract_measured(h, b_factor, u, measured):
    """Relative L2 to the true average, volumes.md §2."""
    estimate = truncation(power(b_factor), h, u)
    assert measured / 1.5 < estimate < 4 * measured


def test_point_sampling_loses_more_than_averaging():
    for u in range(1, MOST + 1):
        assert truncation(power(20.0), 1.0, u, "point") > truncation(power(20.0), 1.0, u)


def test_the_fewest_modes_that_do_are_chosen():
    assert [choose(power(20.0), 1.0, "average", eps) for eps in (0.2, 1e-4, 1e-6, 1e-9)] == [1, 2, 3, 4]
    assert [choose(power(50.0), h, "average", 1e-6) for h in (0.4, 1.0, 1.5)] == [1, 2, 3]


def test_what_the_warning_advises_does():
    """The B and the voxel size that it names keep the estimate below eps, 20 % less of either does not."""
    with pytest.warns(TruncationWarning, match="accept the error") as caught:
        assert choose(power(0.0), 1.5, "average", 1e-5) == MOST
    words = str(caught[0].message).split()
    b_factor, h = float(words[words.index("Å²") - 1]), float(words[words.index("of", words.index("voxels")) + 1])
    assert truncation(power(b_factor + 0.5), 1.5, MOST) <= 1e-5 < truncation(power(0.8 * b_factor), 1.5, MOST)
    assert truncation(power(0.0), h * 0.95, MOST) <= 1e-5 < truncation(power(0.0), 1.25 * h, MOST)


def test_nothing_to_draw_needs_one():
    assert choose(spectral_power([]), 1.0, "average", 1e-6) == 1


def test_b_factors_of_many_atoms_are_gathered_into_a_few_kinds():
    row = LobatoScatteringFactorParameters([6])
    b_factors = np.random.default_rng(0).uniform(20, 40, 5000)
    factor, squared = LobatoScatteringFactor(row.a[0], row.b[0]), np.linspace(0, 1.5, 9)
    gathered = spectral_power([Scatterers(factor, b_factors, np.full(5000, 0.5))])(squared)
    f = (row.a * (2 + row.b * squared[:, None]) / (1 + row.b * squared[:, None]) ** 2).sum(axis=1)
    exact = 0.25 * f**2 * np.exp(-b_factors[:, None] * squared / 2).sum(axis=0)
    np.testing.assert_allclose(gathered, exact, rtol=0.05)
