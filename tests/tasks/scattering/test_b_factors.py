"""B-factors: each policy's formula against the physics it stands for, and a column that is something else is not used as one."""

import gemmi
import numpy as np
import pytest
from MDAnalysisTests import datafiles

from cryovox.tasks.errors import Refusal
from cryovox.tasks.scattering.b_factors import (
    BFactorSettings,
    b_factors,
    b_notes,
    column_looks_like,
    from_plddt,
    from_resolution,
    from_rmsf,
    problem_with,
)

XI = np.linspace(0, 0.5, 26)
"""Å⁻¹."""


def column_of(path) -> tuple[np.ndarray, np.ndarray]:
    """A file's B column, and the number of each atom's residue."""
    found = [
        (atom.b_iso, number)
        for number, residue in enumerate(residue for chain in gemmi.read_structure(str(path))[0] for residue in chain)
        for atom in residue
    ]
    values, residues = np.array(found).T
    return values, residues.astype(np.int64)


@pytest.fixture(scope="module")
def adk() -> tuple[np.ndarray, np.ndarray]:
    """Adenylate kinase without its hydrogens, which have no B-factors: crystallographic ones, an atom each."""
    values, residues = column_of(datafiles.PDB_small)
    return values[values > 0], residues[values > 0]


def per_residue(residues: np.ndarray, level: float, spread: float = 15.0, seed: int = 0) -> np.ndarray:
    """One value for all atoms of a residue, two digits after the point, within 0 to 100."""
    each = np.random.default_rng(seed).normal(level, spread, residues.max() + 1)
    return np.clip(each, 5, 99).round(2)[residues]


def test_b_of_a_resolution_is_the_width_of_chimerax():
    """Its Gaussian of standard deviation R/(π√2) = 0.225 R has a transform exp(-2π²σ²ξ²), 1/e at ξ = 1/R."""
    for resolution in (1.5, 3.0, 12.0):
        sigma, b = resolution / (np.pi * np.sqrt(2)), from_resolution(resolution)
        np.testing.assert_allclose(np.exp(-b * XI**2 / 4), np.exp(-2 * np.pi**2 * sigma**2 * XI**2), rtol=1e-12)
        assert np.exp(-b / resolution**2 / 4) == pytest.approx(np.exp(-1), rel=1e-12)
        assert b == pytest.approx(8 * np.pi**2 * (0.225 * resolution) ** 2, rel=1e-3)
    assert from_resolution(3.0) == 36.0


def test_b_of_a_fluctuation_damps_as_its_frames_do():
    """The mean of exp(-2πi ξ·u) over displacements u is exp(-B ξ²/4)."""
    u = np.random.default_rng(1).normal(0, 0.4, (400_000, 3))
    rmsf = np.sqrt((u**2).sum(axis=1).mean())
    (b,) = from_rmsf(np.array([rmsf]))
    for direction in (np.array([1.0, 0, 0]), np.array([0.6, 0, 0.8])):
        damped = [np.cos(2 * np.pi * xi * (u @ direction)).mean() for xi in XI]
        np.testing.assert_allclose(damped, np.exp(-b * XI**2 / 4), atol=5e-3)
    np.testing.assert_allclose(from_rmsf(np.array([0.0, 1.0])), [0, 26.3189450696], rtol=1e-10)


def test_b_of_a_confidence_is_that_of_the_error_it_predicts():
    """An error of 1.5 Å at 0.7, and e times less for each quarter more."""
    np.testing.assert_allclose(from_plddt(np.array([0.7, 0.95, 0.45])), [59.21762640, 8.01423, 437.5648], rtol=1e-5)
    p = np.array([40.0, 55.5, 70.0, 91.25, 100.0])
    np.testing.assert_allclose(from_plddt(p), from_plddt(p / 100), rtol=1e-12)
    np.testing.assert_allclose(from_plddt(p), from_rmsf(1.5 * np.exp(4 * (0.7 - p / 100))), rtol=1e-12)
    assert (np.diff(from_plddt(p)) < 0).all()
    assert from_plddt(np.array([0.0, 34.0, 90.0])).tolist()[:2] == [1000.0, 1000.0]
    for bad in ([-1.0, 50.0], [101.0, 50.0], [np.nan, 50.0]):
        with pytest.raises(ValueError, match="pLDDT"):
            from_plddt(np.array(bad))


def test_what_was_capped_is_said():
    plddt = np.array([20.0, 30.0, 80.0, 90.0])
    (note,) = b_notes(BFactorSettings("plddt"), b_factors(BFactorSettings("plddt"), 4, plddt, np.arange(4)))
    assert "2 of 4 atoms" in note
    assert "1000" in note
    rmsf = np.array([0.5, 1.0, 7.0])
    found = b_factors(BFactorSettings("rmsf"), 3, rmsf=rmsf)
    np.testing.assert_allclose(found, [*from_rmsf(rmsf[:2]), 1000.0])
    (note,) = b_notes(BFactorSettings("rmsf"), found)
    assert "1 of 3 atoms" in note
    assert b_notes(BFactorSettings("plddt"), from_plddt(plddt[2:])) == ()
    assert b_notes(BFactorSettings("resolution", 20.0), np.full(3, 1600.0)) == ()


def test_a_policy_that_needs_no_column_needs_only_a_number_of_atoms():
    assert b_factors(BFactorSettings("none"), 3).tolist() == [0, 0, 0]
    assert b_factors(BFactorSettings(), 2).tolist() == [30, 30]
    assert b_factors(BFactorSettings("constant", 12.5), 2).tolist() == [12.5, 12.5]
    assert b_factors(BFactorSettings("constant", 0.0), 2).tolist() == [0, 0]
    assert b_factors(BFactorSettings("resolution", 3.0), 2).tolist() == [36, 36]


@pytest.mark.parametrize("file", ["PDB_small", "PDB_closed", "PDB_full", "CONECT", "PDB_icodes", "PDB_janin", "PDB_rama"])
def test_refined_b_factors_are_known_as_such(file):
    """Seven crystal structures, with mean B-factors from 19 to 49 Å²."""
    assert column_looks_like(*column_of(getattr(datafiles, file))) == "b_factors"


def test_a_file_of_ones_holds_a_placeholder():
    assert column_looks_like(*column_of(datafiles.PDB_HOLE)) == "constant"


def test_an_nmr_bundles_small_numbers_are_no_confidence():
    assert column_looks_like(*column_of(datafiles.PDB_multiframe)) == "b_factors"


@pytest.mark.parametrize("level", [55.0, 72.0, 93.0])
@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_one_confidence_a_residue_is_known_whatever_its_scale(adk, level, scale):
    values = per_residue(adk[1], level)
    assert column_looks_like(values * scale, adk[1]) == "plddt"


def test_a_few_residues_with_values_of_their_own_do_not_hide_the_others(adk):
    """Boltz gives each atom of a ligand its own."""
    values, residues = per_residue(adk[1], 80.0), adk[1]
    ligands = residues < 0.04 * residues.max()
    values = values + np.where(ligands, np.random.default_rng(2).normal(0, 2, len(values)).round(2), 0)
    assert column_looks_like(values.clip(0, 100), residues) == "plddt"


def test_a_confidence_of_each_atom_is_known_by_its_level_and_its_skew(adk):
    """AlphaFold 3 gives every atom its own: most near 100, a tail below. Refined B-factors lean the other way at any level."""
    rng = np.random.default_rng(3)
    confidence = (100 - rng.gamma(2.0, 7.0, len(adk[1]))).clip(20, 98.9).round(2)
    assert column_looks_like(confidence, adk[1]) == "plddt"
    assert column_looks_like(confidence[:200], np.arange(200)) == "plddt"  # only one atom a residue
    mirrored = (40 + rng.gamma(2.0, 7.0, len(adk[1]))).clip(0, 99).round(2)
    assert mirrored.mean() > 50
    assert column_looks_like(mirrored, adk[1]) == "b_factors"


def test_group_b_factors_and_low_confidence_are_not_told_apart(adk):
    """One B a residue, as at low resolution, or a disordered protein's confidence: both are asked about, unless a value or the
    source decides."""
    values = per_residue(adk[1], 35.0, 8.0)
    assert column_looks_like(values, adk[1]) == "one_a_residue"
    assert column_looks_like(values, adk[1], recognised=True) == "plddt"
    assert column_looks_like(values + 80, adk[1]) == "b_factors"  # over 100
    # TLS: a smooth function of the position, another for each atom
    smooth = 60 + 20 * np.sin(np.arange(len(values)) / 40.0) ** 8
    assert column_looks_like(smooth, adk[1]) == "b_factors"


def test_a_column_without_anything_in_it_is_known():
    residues = np.repeat(np.arange(4), 3)
    assert column_looks_like(np.full(12, np.nan), residues) == "nothing"
    assert column_looks_like(np.zeros(0), residues[:0]) == "nothing"
    assert column_looks_like(np.zeros(12), residues) == "zero"
    for placeholder in (1.0, 100.0, 200.0):
        assert column_looks_like(np.full(12, placeholder), residues, recognised=True) == "constant"
    assert column_looks_like(np.array([31.0]), residues[:1]) == "b_factors"
    assert column_looks_like(np.array([np.nan, *range(11)]), residues) == "b_factors"
    assert column_looks_like(np.array([np.nan, *np.zeros(11)]), residues) == "zero"


def test_what_a_column_with_gaps_holds_is_told_by_the_others(adk):
    confidence = np.repeat(np.linspace(60, 95, 1 + adk[1].max()), np.bincount(adk[1]))
    confidence[[0, 7, 300]] = np.nan
    assert column_looks_like(confidence, adk[1]) == "plddt"


def refused(settings: BFactorSettings, *given, **more):
    with pytest.raises(Refusal) as caught:
        b_factors(settings, *given, **more)
    (problem,) = caught.value.problems
    assert problem.where.startswith("scattering.b_factor.")
    assert problem.fix
    return problem


def test_the_files_own_are_taken_as_they_are(adk):
    found = b_factors(BFactorSettings("file"), len(adk[0]), *adk)
    np.testing.assert_array_equal(found, adk[0])


def test_a_column_that_is_something_else_is_refused_with_the_line_to_write(adk):
    residues, m = adk[1], len(adk[1])
    file, accepted = BFactorSettings("file"), BFactorSettings("file", accept_column=True)
    confidence = per_residue(residues, 80.0)
    problem = refused(file, m, confidence, residues)
    assert "pLDDT" in problem.what
    assert "policy: plddt" in problem.fix
    assert "accept_column: true" in problem.fix
    np.testing.assert_array_equal(b_factors(accepted, m, confidence, residues), confidence)
    problem = refused(file, m, per_residue(residues, 35.0, 8.0), residues)
    assert "one value" in problem.what
    assert "accept_column: true" in problem.fix
    problem = refused(file, m, np.zeros(m), residues)
    assert "0 for every atom" in problem.got
    assert b_factors(accepted, m, np.zeros(m), residues).tolist() == [0.0] * m
    problem = refused(file, m, np.full(m, 100.0), residues)
    assert "policy: constant, value: 100" in problem.fix
    for settings in (file, accepted, BFactorSettings("plddt")):
        for column in (None, np.full(m, np.nan)):
            assert "no B column" in refused(settings, m, column, residues).what


@pytest.mark.parametrize(("bad", "said"), [(-1.0, "-1"), (1000.5, "1000.5"), (np.nan, "nan"), (np.inf, "inf")])
@pytest.mark.parametrize("accept", [False, True])
def test_a_b_factor_that_cannot_be_is_refused_and_named(adk, bad, said, accept):
    values = adk[0].copy()
    values[[17, 40]] = bad
    problem = refused(BFactorSettings("file", accept_column=accept), len(values), values, adk[1])
    assert "2 of" in problem.got
    assert "atom 17" in problem.got
    assert said in problem.got


def test_only_a_confidence_is_taken_for_one(adk):
    settings, residues = BFactorSettings("plddt"), adk[1]
    confidence = per_residue(residues, 80.0)
    np.testing.assert_array_equal(b_factors(settings, len(residues), confidence, residues), from_plddt(confidence))
    assert "104.2" in refused(settings, len(residues), np.where(np.arange(len(residues)) == 3, 104.2, confidence), residues).got
    assert "0 for every atom" in refused(settings, len(residues), np.zeros(len(residues)), residues).got
    assert "100 for every atom" in refused(settings, len(residues), np.full(len(residues), 100.0), residues).got
    assert refused(settings, len(residues), np.where(np.arange(len(residues)) == 3, np.nan, confidence), residues).got


@pytest.mark.parametrize("value", [None, 0.0, 50.5])
def test_a_resolution_is_asked_for(value):
    problem = refused(BFactorSettings("resolution", value), 3)
    assert problem.where == "scattering.b_factor.value"
    assert "value: 3.0" in problem.fix


@pytest.mark.parametrize("policy", ["none", "file", "plddt", "rmsf"])
def test_a_value_that_its_policy_does_not_use_is_a_problem(policy):
    problem = problem_with(BFactorSettings(policy, 30.0))
    assert problem is not None
    assert f"policy: {policy}" in problem.got
    assert problem_with(BFactorSettings(policy)) is None
    assert problem_with(BFactorSettings("constant", 3.0)) is None


@pytest.mark.parametrize("policy", ["none", "constant", "plddt", "rmsf", "resolution"])
def test_a_column_is_accepted_only_where_one_is_read(policy):
    problem = problem_with(BFactorSettings(policy, 3.0 if policy == "resolution" else None, accept_column=True))
    assert problem is not None
    assert "accept_column" in problem.where


def test_arrays_of_another_length_are_an_error():
    for given in ({"column": np.ones(3), "residues": np.arange(3)}, {"column": np.ones(2)}):
        with pytest.raises(ValueError, match="2 atoms"):
            b_factors(BFactorSettings("file"), 2, **given)
    for rmsf in (None, np.ones(3)):
        with pytest.raises(ValueError, match="2 atoms"):
            b_factors(BFactorSettings("rmsf"), 2, rmsf=rmsf)
