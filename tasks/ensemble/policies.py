"""Which of the selected atoms scatter, and how much: elements, alternative places, what is dropped, occupancies; all counted."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from ..errors import Problem, Refusal
from .elements import AtomKind, resolve
from .names import is_ion, is_water
from .settings import TrajectorySettings

BACKBONE = ("N", "CA", "C", "CB")
ONE = 1.035
"""Occupancies that add up to less are one: files have two decimals."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """The atoms that scatter: what a topology says of them, one entry an atom."""

    selection: Int64[np.ndarray, " m"]
    """Places in the files, ascending."""
    atomic_numbers: Int64[np.ndarray, " m"]
    weights: Float64[np.ndarray, " m"]
    """Occupancy, 0…1."""
    residues: Int64[np.ndarray, " m"]
    chains: Int64[np.ndarray, " m"]
    b_column: Float64[np.ndarray, " m"]
    """NaN where there is none."""
    solvent: Bool[np.ndarray, " m"]
    """Waters and ions."""
    bonds: Int64[np.ndarray, "k 2"]
    """Places in `selection`."""
    align: Int64[np.ndarray, " a"] | None
    """Places in `selection` of the atoms that are superposed."""
    compared: Int64[np.ndarray, " c"] | None
    """Places in `selection` of the atoms by which a diverse subset is chosen."""
    traces: Int64[np.ndarray, "r 4"]
    """Places in `selection` of N, CA, C and CB of each residue that has them."""
    notes: tuple[str, ...]


def drawn_atoms(settings: TrajectorySettings, head: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Drawn:
    """The recipe's policies applied to what `describe` of the decoder answered. Raises one `Refusal` with every problem."""
    problems: list[Problem] = []
    kinds, which = [tuple(row) for row in head["kinds"]], arrays["kinds"]
    counts = np.bincount(which, minlength=len(kinds))
    notes: list[str] = []
    numbers = np.ones(len(which), np.int64)
    try:
        by_kind, said = resolve([AtomKind(*row, count=int(n)) for row, n in zip(kinds, counts, strict=True)], settings.elements)
        numbers = by_kind[which]
        notes += said
    except Refusal as refusal:
        problems += refusal.problems
    kept = numbers > 0
    kept &= _places(settings, head, arrays, problems, notes)
    for name in settings.drop:
        kept &= ~_dropped(name, kinds, which, numbers, kept, notes)
    weights = _weights(settings, arrays["occupancies"], kept, problems, notes)
    if not kept.any() and not problems:
        fix = "select more, or drop less, under `ensemble`"
        problems.append(Problem("no atom is left to draw", "ensemble.select", "0 atoms", "at least one", fix))
    if problems:
        raise Refusal(problems)
    place = np.full(len(kept), -1)
    place[kept] = np.arange(int(kept.sum()))
    bonds = place[arrays["bonds"]] if "bonds" in arrays else np.zeros((0, 2), np.int64)
    within = {name: place[arrays[name]] for name in ("align", "compared") if name in arrays}
    names = np.array([row[0] for row in kinds])[which[kept]]
    return Drawn(
        selection=arrays["selection"][kept],
        atomic_numbers=numbers[kept],
        weights=weights[kept],
        residues=arrays["residues"][kept],
        chains=arrays["chains"][kept],
        b_column=arrays["b_factors"][kept],
        solvent=np.array([is_water(row[1]) or is_ion(row[0], row[1]) for row in kinds], bool)[which[kept]],
        bonds=bonds[(bonds >= 0).all(axis=1)],
        align=within["align"][within["align"] >= 0] if "align" in within else None,
        compared=within["compared"][within["compared"] >= 0] if "compared" in within else None,
        traces=_traces(names, arrays["residues"][kept]),
        notes=tuple(notes),
    )


def _traces(names: np.ndarray, residues: Int64[np.ndarray, " m"]) -> Int64[np.ndarray, "r 4"]:
    """Where each residue's N, CA, C and CB stand, of those that have all four once."""
    found: dict[int, dict[str, int]] = {}
    for i in np.flatnonzero(np.isin(names, BACKBONE)).tolist():
        found.setdefault(int(residues[i]), {})[str(names[i])] = i
    return np.array([[atoms[name] for name in BACKBONE] for atoms in found.values() if len(atoms) == 4], np.int64).reshape(-1, 4)


def _places(
    settings: TrajectorySettings,
    head: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    problems: list[Problem],
    notes: list[str],
) -> Bool[np.ndarray, " m"]:
    """Atoms that stay of those with alternative places: whole conformers, since places of two conformers fit no molecule."""
    letters, which = list(head["altlocs"]), arrays["altlocs"]
    alternative = np.isin(which, [i for i, letter in enumerate(letters) if letter])
    kept = np.ones(len(which), bool)
    n = int(alternative.sum())
    if not n:
        return kept
    if settings.altloc is None:
        fix = "`altloc: highest`, or `altloc: all` with `occupancy: file`, under `ensemble`"
        problems.append(
            Problem("atoms have alternative places", "ensemble.altloc", f"{n} such places", "a rule to choose among them", fix)
        )
    elif settings.altloc == "all":
        if settings.occupancy != "file":
            what, got = "every alternative place would count as a whole atom", f"`altloc: all` with `occupancy: one`, {n} places"
            problems.append(Problem(what, "ensemble.altloc", got, "`occupancy: file`", "write it, or `altloc: highest`"))
        else:
            problems += _more_than_one(head, arrays, np.flatnonzero(alternative))
        notes.append(f"alternative places: all {n} are drawn, by their occupancy")
    else:
        kept = _highest(head, arrays, alternative)
        notes.append(
            f"alternative places: of {n}, {int((kept & alternative).sum())} are drawn, of the highest occupancy in each residue"
        )
    return kept


def _highest(
    head: Mapping[str, Any], arrays: Mapping[str, np.ndarray], alternative: Bool[np.ndarray, " m"]
) -> Bool[np.ndarray, " m"]:
    """Atoms that stay where each site keeps the letter of the highest mean occupancy, the first of equal ones.

    A point mutation is one site with residues of several names: of those that lack the letter no atom stays.
    """
    letters, which, sites = list(head["altlocs"]), arrays["altlocs"], _sites(head, arrays)
    names = [str(row[1]) for row in head["kinds"]]
    occupancies = np.nan_to_num(arrays["occupancies"])
    there: dict[int, dict[int, list[int]]] = {}
    for i in np.flatnonzero(alternative).tolist():
        there.setdefault(int(sites[i]), {}).setdefault(int(which[i]), []).append(i)
    kept = ~alternative
    lost: dict[int, set[str]] = {}
    for site, places in there.items():
        # rounded, as means of equal numbers differ in their last digits
        best = min(places, key=lambda letter: (-round(float(occupancies[places[letter]].mean()), 6), letters[letter]))
        kept[places[best]] = True
        of_letter = {letter: {names[arrays["kinds"][i]] for i in atoms} for letter, atoms in places.items()}
        lost[site] = set().union(*of_letter.values()) - of_letter[best]
    mutated = [site for site, gone in lost.items() if gone]
    for i in np.flatnonzero(np.isin(sites, mutated)).tolist():
        kept[i] &= names[arrays["kinds"][i]] not in lost[int(sites[i])]
    return kept


def _sites(head: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Int64[np.ndarray, " m"]:
    """A number for each chain, residue number and insertion code: residues of several names there share one place."""
    codes, numbers = arrays["icodes"] + len(head["icodes"]) * arrays["chains"], arrays["numbers"]
    return codes * (int(np.ptp(numbers)) + 1) + numbers - numbers.min()


def _more_than_one(
    head: Mapping[str, Any], arrays: Mapping[str, np.ndarray], places: Int64[np.ndarray, " a"]
) -> Iterator[Problem]:
    """Atoms whose alternative places are there more than once together."""
    names, sites = [row[0] for row in head["kinds"]], _sites(head, arrays)
    total: Counter[tuple[int, str]] = Counter()
    for i in places.tolist():
        occupancy = float(np.nan_to_num(arrays["occupancies"][i]))
        total[int(sites[i]), names[arrays["kinds"][i]]] += occupancy  # pyright: ignore[reportArgumentType]
    bad = [(name, much) for (_, name), much in total.items() if much > ONE]
    if bad:
        name, much = max(bad, key=lambda one: one[1])
        got = f"{len(bad)} atoms, up to {much:.3g} in all for a {name}"
        fix = "correct the file, or `altloc: highest` with `occupancy: one`"
        yield Problem("alternative places of an atom add up to more than one", "ensemble.occupancy", got, "at most 1 each", fix)


def _dropped(
    name: str,
    kinds: list[tuple[Any, ...]],
    which: Int64[np.ndarray, " m"],
    numbers: Int64[np.ndarray, " m"],
    kept: Bool[np.ndarray, " m"],
    notes: list[str],
) -> Bool[np.ndarray, " m"]:
    if name == "hydrogens":
        gone = numbers == 1
    else:
        of_kind = [is_water(row[1]) if name == "waters" else is_ion(row[0], row[1]) for row in kinds]
        gone = np.array(of_kind, bool)[which]
    notes.append(
        f"dropped: {int((gone & kept).sum())} atoms of {name}"
        if name != "hydrogens"
        else f"dropped: {int((gone & kept).sum())} hydrogens"
    )
    return gone


def _weights(
    settings: TrajectorySettings,
    occupancies: Float64[np.ndarray, " m"],
    kept: Bool[np.ndarray, " m"],
    problems: list[Problem],
    notes: list[str],
) -> Float64[np.ndarray, " m"]:
    there = occupancies[kept]
    if settings.occupancy == "one":
        partial = int(np.count_nonzero((there > 0) & (there < 1)))
        if partial and settings.altloc is None:
            notes.append(
                f"occupancies: {partial} atoms have less than 1 in their file and are drawn whole (`occupancy: file` weighs them)"
            )
        return np.ones(len(occupancies))
    where = "ensemble.occupancy"
    if np.isnan(there).any():
        fix = "`occupancy: one`, or a PDB or mmCIF file as `topology`"
        problems.append(Problem("the topology has no occupancies", where, "`occupancy: file`", "an occupancy for each atom", fix))
    elif len(there) and not there.any():
        problems.append(Problem("all occupancies are 0", where, f"{len(there)} atoms", "0…1, not all 0", "`occupancy: one`"))
    elif (bad := int(np.count_nonzero((there < 0) | (there > 1)))) > 0:
        got = f"{bad} atoms, from {there.min():g} to {there.max():g}"
        problems.append(Problem("occupancies are impossible", where, got, "0…1", "correct the file, or `occupancy: one`"))
    return np.where(kept, np.nan_to_num(occupancies), 0.0)
