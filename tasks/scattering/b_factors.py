"""The recipe's `scattering`: which table, and which B-factor each atom gets; a column of numbers is not believed unseen."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le
from jaxtyping import Float64, Int64

from ..errors import Problem, Refusal

Table = Literal["peng1996", "lobato2014"]
Policy = Literal["none", "constant", "file", "plddt", "rmsf", "resolution"]
Look = Literal["nothing", "zero", "constant", "plddt", "one_a_residue", "b_factors"]
"""What a file's B column holds: no numbers, only zeros, a placeholder, confidences, either confidences or the B-factors of
groups, or B-factors of atoms."""

DEFAULT = 30.0
"""Å², of `policy: constant`."""
LARGEST = 1000.0
"""Å²: the largest B-factor of an atom, a displacement of 6 Å. What a confidence or a fluctuation says is capped here."""
COARSEST = 50.0
"""Å: the largest resolution."""

_ALIKE = 0.95
_CONFIDENT = 50.0
"""Mean from which a column may be pLDDT by its level."""


@dataclass(frozen=True)
class BFactorSettings:
    """Extra Debye-Waller width of every atom: f(ξ) is multiplied by exp(-B ξ²/4)."""

    policy: Policy = "constant"
    """`none`: only the table's own widths. `constant`: `value` for every atom. `file`: the topology's B column. `plddt`: from
    the confidence (pLDDT) that predictors write into that column. `rmsf`: from how far each atom moves over the frames.
    `resolution`: one width for all atoms, that of a map at resolution `value`."""
    value: Annotated[float, Ge(0), Le(LARGEST)] | None = None
    """For `constant`, Å²: null is 30, which resembles a 2-3 Å map; the variance of each Gaussian grows by B/8π². For
    `resolution`, Å: B = 4·value², as wide as ChimeraX's `molmap` draws. Other policies take none."""
    accept_column: bool = False
    """For `file`: takes the B column even where it looks like something else, such as pLDDT."""


@dataclass(frozen=True)
class ScatteringSettings:
    """The recipe's `scattering`: how strongly and how broadly an atom scatters."""

    table: Table = "peng1996"
    """`peng1996`: 98 neutral elements, five Gaussians each. `lobato2014`: 103 neutral elements, with the right decay at high
    frequencies and near the nucleus; drawn by as many Gaussians as the tolerance asks for, at about the same cost."""
    b_factor: BFactorSettings = BFactorSettings()
    """Extra width of every atom."""


def from_rmsf(rmsf: Float64[np.ndarray, " m"]) -> Float64[np.ndarray, " m"]:
    """B = 8π²/3 · rmsf², Å², of root-mean-square fluctuations in Å, the same in all directions.

    B = 8π²⟨u²⟩ with ⟨u²⟩ along one direction, a third of rmsf² (Willis and Pryor, Thermal Vibrations in Crystallography, 1975).
    """
    return 8 * np.pi**2 / 3 * rmsf**2


def from_plddt(plddt: Float64[np.ndarray, " m"]) -> Float64[np.ndarray, " m"]:
    """B in Å² of predicted lDDT, 0 to 1 or 0 to 100 (0 to 1 where none exceeds 1); at most 1000, reached below 34.7.

    The error of a position is estimated as 1.5·exp(4·(0.7 - p)) Å, p in 0…1, and B = 8π²/3 · error². The formula is empirical:
    phenix.process_predicted_model has it (Oeffner et al., Acta Cryst. D78, 1303, 2022), and names Hiranuma et al., Nat. Commun.
    12, 1340 (2021) for it. Raises `ValueError` for a number outside 0…100 or not finite.
    """
    if not ((plddt >= 0) & (plddt <= 100)).all():
        raise ValueError("pLDDT lies between 0 and 100")
    p = plddt if plddt.max(initial=0.0) <= 1 else plddt / 100
    return np.minimum(from_rmsf(1.5 * np.exp(4 * (0.7 - p))), LARGEST)


def from_resolution(resolution: float) -> float:
    """B = 4R², Å², for resolution R in Å: exp(-Bξ²/4) falls to 1/e at ξ = 1/R.

    It is the width of ChimeraX's `molmap`: Gaussians of standard deviation σ = R/(π√2) = 0.225 R (its `sigmaFactor`), and
    B = 8π²σ². The table's own widths come on top.
    """
    return 4.0 * resolution**2


def column_looks_like(b_factors: Float64[np.ndarray, " m"], residues: Int64[np.ndarray, " m"], recognised: bool = False) -> Look:
    """What the B column of m atoms in numbered residues holds; NaN where a file has none, and the others tell.

    `recognised`: the files are known to come from a structure predictor, so what can be a confidence is one.

    Predictors write pLDDT, 0…1 or 0…100, mostly the same for every atom of a residue (for 95 % of those with several atoms; in
    ligands it may differ). Refined B-factors differ from atom to atom, with or without TLS; B-factors of groups, refined at low
    resolution, do not, and then only the level tells: a mean of 50 or more is taken for confidence, a lower one is
    `one_a_residue`, which may be a disordered protein's. AlphaFold 3 writes a confidence for each atom: known by that level and
    by a median above the mean, since B-factors have their tail on the other side. To be wrongly asked costs a line of the
    recipe; a confidence taken for B-factors would blur the best parts most, and nobody would see it.
    """
    there = ~np.isnan(b_factors)
    if not there.any():
        return "nothing"
    b_factors, residues = b_factors[there], residues[there]
    if not b_factors.any():
        return "zero"
    lowest, highest, mean = b_factors.min(), b_factors.max(), b_factors.mean()
    if lowest == highest and len(b_factors) > 1:
        return "constant"
    if not (lowest >= 0 and highest <= 100) or len(b_factors) == 1:
        return "b_factors"
    if recognised or highest <= 1:
        return "plddt"
    if _share_alike(b_factors, residues) >= _ALIKE:
        return "plddt" if mean >= _CONFIDENT else "one_a_residue"
    return "plddt" if mean >= _CONFIDENT and np.median(b_factors) > mean else "b_factors"


def _share_alike(values: Float64[np.ndarray, " m"], residues: Int64[np.ndarray, " m"]) -> float:
    """Of the residues with several atoms, the share whose atoms all have one value; 0 where there are none."""
    order = np.lexsort((values, residues))
    starts = np.flatnonzero(np.diff(residues[order], prepend=residues.min() - 1))
    stops = np.append(starts[1:], len(order))
    several = stops - starts > 1
    same = values[order[starts]] == values[order[stops - 1]]
    return float(same[several].mean()) if several.any() else 0.0


def problem_with(settings: BFactorSettings) -> Problem | None:
    """Keys that contradict each other, or that are missing."""
    policy, value = settings.policy, settings.value
    key = "scattering.b_factor.value"
    if policy == "resolution" and (value is None or not 0 < value <= COARSEST):
        got = "no `value`" if value is None else f"`value: {value:g}`"
        what, fix = "the resolution is not known" if value is None else f"bad value for `{key}`", "`value: 3.0` for 3 Å"
        return Problem(what, key, f"{got} with `policy: resolution`", f"above 0 and up to {COARSEST:g} Å", fix)
    if policy not in ("constant", "resolution") and value is not None:
        got = f"`value: {value:g}` with `policy: {policy}`"
        fix = f"remove the value (`--set 'scattering.b_factor={{policy: {policy}}}'`), or `policy: constant`"
        return Problem(f"`{key}` is not used", key, got, fix=fix)
    if policy != "file" and settings.accept_column:
        key, got = "scattering.b_factor.accept_column", f"`accept_column: true` with `policy: {policy}`"
        return Problem(f"`{key}` is for `policy: file`", key, got, fix="remove the key, or `policy: file`")
    return None


def b_factors(
    settings: BFactorSettings,
    n_atoms: int,
    column: Float64[np.ndarray, " m"] | None = None,
    residues: Int64[np.ndarray, " m"] | None = None,
    rmsf: Float64[np.ndarray, " m"] | None = None,
) -> Float64[np.ndarray, " m"]:
    """B of each of `n_atoms` atoms, Å².

    `column` is the topology's B column (None or NaN where it has none) and `residues` the number of each atom's residue, for
    `file` and `plddt`; `rmsf`, Å, is for `rmsf`. Raises `Refusal` where the recipe's policy cannot be had from them, `ValueError`
    where they are of another length or missing.
    """
    if (problem := problem_with(settings)) is not None:
        raise Refusal(problem)
    if settings.policy == "rmsf":
        return np.minimum(from_rmsf(_of(n_atoms, rmsf, "fluctuations")), LARGEST)
    if settings.policy in ("file", "plddt"):
        values = np.full(n_atoms, np.nan) if column is None else _of(n_atoms, column, "B-factors")
        numbers = np.arange(n_atoms) if column is None else _of(n_atoms, residues, "residues")
        if (problem := _column_problem(settings, values, column_looks_like(values, numbers))) is not None:
            raise Refusal(problem)
        return values if settings.policy == "file" else from_plddt(values)
    if settings.policy == "none":
        return np.zeros(n_atoms)
    value = DEFAULT if settings.value is None else settings.value
    return np.full(n_atoms, value if settings.policy == "constant" else from_resolution(value))


def b_notes(settings: BFactorSettings, found: Float64[np.ndarray, " m"]) -> tuple[str, ...]:
    """What a person may want to know of the B-factors that `b_factors` gave: how many were capped."""
    capped = int((found >= LARGEST).sum())
    if not capped or settings.policy not in ("plddt", "rmsf"):
        return ()
    why = "so low a confidence" if settings.policy == "plddt" else "so large a fluctuation"
    return (f"{capped} of {len(found)} atoms have {why} that their B-factor was capped at {LARGEST:g} Å²",)


def _of(n_atoms: int, values: np.ndarray | None, what: str) -> np.ndarray:
    if values is None or len(values) != n_atoms:
        raise ValueError(f"{'no' if values is None else len(values)} {what} for {n_atoms} atoms")
    return values


_INSTEAD = "`policy: constant`, `policy: rmsf` or `policy: resolution` need no column"


def _column_problem(settings: BFactorSettings, values: Float64[np.ndarray, " m"], look: Look) -> Problem | None:
    """Why a column cannot be what the policy takes it for."""
    where, confidence = "scattering.b_factor.policy", settings.policy == "plddt"
    wanted = "pLDDT, 0 to 1 or 0 to 100" if confidence else "refined B-factors, Å²"
    if look == "nothing":
        return Problem("the topology has no B column", where, f"`policy: {settings.policy}`", wanted, _INSTEAD)
    highest = 100.0 if confidence else LARGEST
    bad = np.flatnonzero(~((values >= 0) & (values <= highest)))
    if len(bad):
        got = f"{len(bad)} of {len(values)} atoms, the first of them atom {bad[0]} (counted from 0) with {values[bad[0]]:g}"
        name = "pLDDT" if confidence else "B-factors"
        fix = f"{'`policy: file` if these are B-factors; ' if confidence else 'correct the file; '}{_INSTEAD}"
        return Problem(f"the B column holds no {name}", where, got, f"each between 0 and {highest:g}", fix)
    if settings.accept_column:
        return None
    accept = "`accept_column: true` takes it as it is"
    if look == "zero":
        what, fix = f"the B column holds no {'pLDDT' if confidence else 'B-factors'}", _INSTEAD
        return Problem(what, where, "0 for every atom", wanted, fix if confidence else f"{fix}; {accept}")
    if look == "constant":
        got, fix = f"{values[0]:g} for every atom", f"`b_factor: {{policy: constant, value: {values[0]:g}}}` says so openly"
        return Problem("the B column holds a placeholder", where, got, wanted, fix if confidence else f"{fix}; {accept}")
    if confidence or look == "b_factors":
        return None
    got = f"{values.min():g} to {values.max():g}, mean {values.mean():.3g}"
    if look == "plddt":
        fix = f"`b_factor: {{policy: plddt}}` makes B-factors of it; if they are B-factors, {accept}"
        return Problem("the B column looks like pLDDT: high where a B-factor is low", where, got, wanted, fix)
    what = "the B column has one value a residue: a group's B-factor or a predictor's confidence"
    return Problem(what, where, got, wanted, "`accept_column: true` for the first, `b_factor: {policy: plddt}` for the second")
