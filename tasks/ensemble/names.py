"""What an atom's name means in the residues that every force field shares: proteins, nucleic acids, water, ions."""

import re
from functools import cache

import gemmi

_C, _H, _N, _O, _P, _S, _SE = 6, 1, 7, 8, 15, 16, 34


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Residue names that gemmi's table (the wwPDB's) lacks: protonation states and caps of AMBER, CHARMM, GROMOS and OPLS.
_AMINO_ACIDS = _words(
    "ARGN ASH ASN1 ASPH ASPP CYM CYS1 CYS2 CYSH CYX GLH GLUH GLUP HID HIE HIP HIS1 HIS2 HISA HISB HISD HISE HISH HSD HSE HSP "
    "LSN LYN LYSH ACE NAC NH2 NMA NME"
)
_NUCLEOTIDES = {"ADE", "CYT", "GUA", "THY", "URA"} | {
    sugar + base + end for sugar in ("", "D", "R") for base in "ACGTU" for end in ("", "3", "5", "N")
}
_WATERS = _words(
    "D2O DOD H2O HOH OPC OPC3 SOL SPC SPCE SPE SWM4 T3P T4P T5P TIP TIP2 TIP3 TIP4 TIP5 TIP3P TIP4P TIP5P TP3 TP4 TP5 WAT"
)

_CHARMM_IONS = {
    "SOD": "Na",
    "CLA": "Cl",
    "POT": "K",
    "CAL": "Ca",
    "LIT": "Li",
    "RUB": "Rb",
    "CES": "Cs",
    "BAR": "Ba",
    "CAD": "Cd",
}
_ION_ELEMENTS = _words("Li Na K Rb Cs Mg Ca Sr Ba Mn Fe Co Ni Cu Zn Cd Hg Ag Pb F Cl Br I")
_CHARGES = ("", "+", "-", "1", "2", "3", "1+", "1-", "2+", "3+", "+1", "-1", "+2", "+3")
IONS: dict[str, str] = {
    **{symbol.upper() + charge: symbol for symbol in _ION_ELEMENTS for charge in _CHARGES},
    **_CHARMM_IONS,
    "IOD": "I",
}
"""Names that ions have, as residues and as atoms, to element symbols."""

# Whole names only: `CU` in an amino acid is no carbon and `LP1` in water no atom. A leading digit is GROMACS' and the old PDB's
# way to number hydrogens; deuterium follows hydrogen's names, while Drude particles (`DCA`, `DOH2`) put D before an atom's.
_AMINO_NAMES = (
    (r"C|C[ABGDEZH][1-3]?|CAY|CY|CAT|CT", _C),
    (r"N|N[DEZH][1-3]?|NT", _N),
    (r"O|OXT|O[GDEH][1-3]?|OT[12]?|OC[12]?|O['1-3]|OP[1-3]|O[1-3]P|OY", _O),
    (r"S[GD]", _S),
    (r"SE", _SE),
    (r"P", _P),
    (r"[1-4]?H[A-Z]{0,2}[0-9]{0,2}", _H),
    (r"[1-4]?D([ABGDEZH][0-9]{0,2}|[0-9]?)", _H),
)
_NUCLEIC_NAMES = (
    (r"P[ABG]?", _P),
    (r"O[1-6]['*]?|O[1-3][ABGP]|OP[1-3]|O[35]T", _O),
    (r"C[1-8]['*]?|C5M", _C),
    (r"N[1-9]", _N),
    (r"[1-4]?H[A-Z]?[A-Z0-9]{0,2}['*]{0,2}[0-9]?|H[35]T|HO[235]['*]?", _H),
    (r"[1-4]?D[0-9]{1,2}['*]{0,2}|DO[235]['*]?", _H),
)
_WATER_NAMES = ((r"O|OW[1-4]?|OH2|O1", _O), (r"[12]?H|[12]?HW|H[1-3]|HW[1-3]|[12]?D|D[12]", _H))
_TABLES = {"amino": _AMINO_NAMES, "nucleic": _NUCLEIC_NAMES, "water": _WATER_NAMES}


@cache
def by_name(name: str, residue: str) -> int | None:
    """Atomic number of the atom `name` in `residue`, any case; None where the pair does not say it for certain.

    `CA` is calcium in residue CA (or CAL, or GROMACS' ION) and carbon in an amino acid; anywhere else it is unclear.
    """
    name, residue = name.strip().upper(), residue.strip().upper()
    family = _family(residue)
    if family is not None:
        for pattern, number in _TABLES[family]:
            if re.fullmatch(pattern, name):
                return number
    if name in IONS and (residue in ("ION", "IONS") or IONS.get(residue) == IONS[name]):
        return gemmi.Element(IONS[name]).atomic_number
    return None


def is_water(residue: str) -> bool:
    """Whether a residue of this name is water."""
    return residue.strip().upper() in _WATERS


def is_ion(name: str, residue: str) -> bool:
    """Whether an atom of this name, in a residue of this name, is a single ion."""
    name, residue = name.strip().upper(), residue.strip().upper()
    return residue in IONS or (residue in ("ION", "IONS") and name in IONS)


def is_polymer(residue: str) -> bool:
    """Whether a residue of this name belongs to a protein or a nucleic acid."""
    return _family(residue.strip().upper()) in ("amino", "nucleic")


@cache
def _family(residue: str) -> str | None:
    if residue in _WATERS:
        return "water"
    if residue in _NUCLEOTIDES:
        return "nucleic"
    # AMBER marks chain ends with a fourth letter: NALA, CGLY
    core = residue[1:] if len(residue) == 4 and residue[0] in "NC" else residue
    if residue in _AMINO_ACIDS or core in _AMINO_ACIDS:
        return "amino"
    found = gemmi.find_tabulated_residue(core)
    if found is not None and found.is_amino_acid():
        return "amino"
    if found is not None and found.is_nucleic_acid():
        return "nucleic"
    return None
