"""What of the atoms misleads: solvent that is drawn, parts that are missing, columns that are not what they are taken for."""

from collections.abc import Iterator

import numpy as np

from ..scattering.b_factors import Look, column_looks_like
from .census import PROTEIN, Census
from .evidence import Evidence, Finding, many, span
from .frames import TrajectoryEnsemble

BACKBONE = ("N", "CA", "C", "CB", "O", "OXT")
"""What of a protein has no side chains; CB stands for where they begin."""


FEW_IONS = 8
"""So few belong to the molecule: solvent has more."""


def of_atoms(evidence: Evidence) -> Iterator[Finding]:
    """Of who they are."""
    atoms, m = evidence.atoms, len(evidence.atoms.which)
    counts = atoms.counts
    waters, ions, molecule = counts.get("water", 0), counts.get("ions", 0), counts.get("protein", 0) + counts.get("nucleic", 0)
    if waters and molecule:
        line = "drop: [waters, ions]" if ions else "drop: [waters]"
        what = f"{waters / m:.0%} of the atoms are water ({waters:,})"
        if 2 * waters > m:
            yield Finding("warn", what, "it is drawn around the molecule, and takes most of the time and the disk", line)
        else:
            yield Finding("note", what, "they are drawn as well", line)
    elif ions > FEW_IONS and molecule:
        yield Finding("note", f"{many(ions, 'ion')} drawn", "the solvent's as well as those that are bound", "drop: [ions]")
    yield from _side_chains(atoms)
    if molecule and not (evidence.ensemble.atomic_numbers == 1).any():
        why = "`drop: [hydrogens]`" if "hydrogens" in evidence.settings.drop else "none is in the selection"
        yield Finding(
            "note", f"no hydrogens are drawn ({why})", "they are about 18 % of a protein's scattering at low resolution"
        )
    nobody = atoms.occupancies == 0
    if evidence.settings.occupancy == "one" and nobody.any() and not nobody.all():  # all 0 is a placeholder of programs
        what = f"{int(nobody.sum())} atoms have occupancy 0"
        yield Finding("note", what, "they were modelled without being seen, and are drawn all the same", "occupancy: file")


def _side_chains(atoms: Census) -> Iterator[Finding]:
    expected, there = atoms.side_chains
    if not expected or there / expected >= 0.97:
        return
    names = set(atoms.names[(atoms.classes == PROTEIN) & ~atoms.hydrogen].tolist())
    if not names <= set(BACKBONE):
        what = f"amino acids lack {expected - there:,} of {expected:,} heavy atoms"
        yield Finding("note", what, "side chains that are cut or were not resolved are not drawn")
        return
    only = ", ".join(name for name in BACKBONE if name in names)
    what = f"side chains are missing: amino acids have {only} alone, {there / expected:.0%} of their heavy atoms"
    share = "62 % of the heavy atoms' scattering" if len(names) >= len(BACKBONE) - 1 else "a small part of the scattering"
    yield Finding("warn", what, f"{share} is drawn, and density is thin where side chains pack: rebuild them first")


def b_look(ensemble: TrajectoryEnsemble) -> Look:
    """What the topology's B column holds."""
    return column_looks_like(ensemble.b_column, ensemble.residues)


def of_b_column(evidence: Evidence) -> Iterator[Finding]:
    """Of what it holds against what the recipe makes of it."""
    settings = None if evidence.scattering is None else evidence.scattering.b_factor
    column, found = evidence.ensemble.b_column, b_look(evidence.ensemble)
    policy = "constant" if settings is None else settings.policy
    gaps = bool(np.isnan(column).any())  # then no policy can use it
    if found == "plddt" and policy not in ("plddt", "file"):
        what = f"the B column looks like pLDDT ({span(column)}), a confidence"
        then = f"it is not used (`policy: {policy}`); `plddt` blurs what is unsure"
        yield Finding("note", what, then, "" if gaps else "b_factor: {policy: plddt}", "scattering")
    elif found in ("b_factors", "one_a_residue") and policy in ("constant", "none"):
        sure = "holds B-factors" if found == "b_factors" else "has one value a residue: B-factors of groups, or a confidence"
        line = "b_factor: {policy: file}" if found == "b_factors" else "b_factor: {policy: file, accept_column: true}"
        yield Finding(
            "note",
            f"the B column {sure} ({span(column)})",
            f"it is not used (`policy: {policy}`)",
            "" if gaps else line,
            "scattering",
        )
