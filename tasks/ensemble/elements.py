"""Atomic numbers from what a topology says, or a refusal that names the line to write: nothing is guessed.

Order: the recipe's `elements`, the element column, the atom's name in a residue that is known, the mass where the name agrees.
Sites that are no atoms (virtual sites, lone pairs, Drude particles) are known by their masses, or by their names in water.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import gemmi
import numpy as np
from jaxtyping import Int64

from ..errors import Problem, Refusal
from .names import IONS, by_name, is_water

KEY = "ensemble.elements"


@dataclass(frozen=True)
class AtomKind:
    """Atoms that a topology describes in the same words."""

    name: str
    residue: str
    element: str
    """The element column, as it stands; empty where there is none."""
    mass: float | None
    """Da; None where the topology has no masses."""
    count: int
    """Atoms of this kind in the selection."""


def symbol_number(symbol: str) -> int | None:
    """Atomic number of an element symbol in any case (D is hydrogen); None where it is no element.

    gemmi's unknown `X` is none, and neither is a longer word of which gemmi would read two letters (`Carbon` → Ca).
    """
    element = gemmi.Element(symbol)
    known = element.atomic_number > 0 and element.name.upper() == symbol.strip().upper()
    return element.atomic_number if known else None


def resolve(kinds: Sequence[AtomKind], chosen: Mapping[str, str]) -> tuple[Int64[np.ndarray, " k"], tuple[str, ...]]:
    """Atomic number of each kind, 0 for sites that are no atoms, and notes on where they came from; `chosen` is the recipe's map
    from atom name to element.

    Raises `Refusal` with every name that stays unclear, every contradiction and every word in `chosen` that is no element.
    """
    numbers = np.zeros(len(kinds), np.int64)
    origins: Counter[str] = Counter()
    unclear: list[AtomKind] = []
    torn: list[tuple[AtomKind, int, str]] = []
    named = {name: symbol_number(symbol) for name, symbol in chosen.items()}
    massless = not any(kind.mass for kind in kinds)  # a topology that calls every mass 0 has none
    for i, kind in enumerate(kinds):
        kind = replace(kind, mass=None) if massless else kind
        if kind.name in chosen:
            numbers[i], origin = named[kind.name] or 0, "the recipe"
        else:
            by_rule = by_name(kind.name, kind.residue)
            number, origin = _from_topology(kind, by_rule)
            if number is None and _is_site(kind):
                number, origin = 0, SITES
            elif number is None:
                unclear.append(kind)
            elif by_rule is not None and number != by_rule and number != 0:
                torn.append((kind, by_rule, f"element column {kind.element}"))
            elif kind.mass is not None and number != 0 and not _mass_allows(number, kind.mass):
                torn.append((kind, number, f"mass {kind.mass:g} Da"))
            numbers[i] = number or 0
        origins[origin] += kind.count
    problems = [_no_element(name, chosen[name]) for name, number in named.items() if number is None]
    problems += [_unclear(unclear)] if unclear else []
    problems += [_torn(torn)] if torn else []
    if problems:
        raise Refusal(problems)
    atoms = {origin: n for origin, n in sorted(origins.items()) if origin != SITES}
    notes = ["elements: " + ", ".join(f"{n} atoms from {origin}" for origin, n in atoms.items())] if atoms else []
    if n := origins[SITES]:
        rows = [f"{kind.name} ({kind.count} in {kind.residue})" for kind, z in zip(kinds, numbers, strict=True) if z == 0]
        notes.append(f"left out: {n} sites that are no atoms, {', '.join(rows[:8])}{', …' if len(rows) > 8 else ''}")
    unused = sorted(set(chosen) - {kind.name for kind in kinds})
    if unused:
        notes.append(f"{KEY}: no selected atom is named {', '.join(unused)}")
    return numbers, tuple(notes)


SITES = "sites"
_SITE_NAMES = re.compile(r"MW?[0-9]*|OM|EPW?[0-9]*|LP[A-Z0-9]*|VS?[0-9]*|DUM[A-Z]*", re.IGNORECASE)
"""Of virtual sites and lone pairs in water, as GROMACS, AMBER, CHARMM and OpenMM name them."""


def _is_site(kind: AtomKind) -> bool:
    """Whether nothing scatters there: a mass below any atom's, or a virtual site's name in water."""
    if kind.mass is not None:
        return kind.mass < _LIGHTEST
    return is_water(kind.residue) and _SITE_NAMES.fullmatch(kind.name) is not None


def _from_topology(kind: AtomKind, by_rule: int | None) -> tuple[int | None, str]:
    column = symbol_number(kind.element) if kind.element.strip() else None
    if column is not None and not (kind.mass is not None and kind.mass < _LIGHTEST):
        return column, "the element column"
    if kind.mass is not None and kind.mass < _LIGHTEST:
        return None, ""  # a virtual site or a Drude particle, whatever its name
    if by_rule is not None:
        return by_rule, "names"
    return (None if kind.mass is None else _by_mass(kind.name, kind.mass)), "masses"


# Hydrogen-mass repartitioning makes hydrogens up to 4 Da heavy at the cost of their neighbour, united atoms carry up to three
# hydrogens of their own: a mass may confirm or contradict a name, it decides alone only where it is an element's own.
_LIGHTEST = 0.9
_HEAVIEST_HYDROGEN = 4.5
_UNITED = 3.2
_CLOSE = 0.1
_WEIGHTS = {z: gemmi.Element(z).weight for z in range(3, 99)}


def _by_mass(name: str, mass: float) -> int | None:
    letters = re.sub(r"^\d+", "", name).upper()
    if _LIGHTEST <= mass <= _HEAVIEST_HYDROGEN:
        return 1 if letters[:1] in ("H", "D") else None
    near = sorted((abs(weight - mass), z) for z, weight in _WEIGHTS.items() if abs(weight - mass) < _CLOSE)
    return next((z for _, z in near if letters.startswith(gemmi.Element(z).name.upper())), None)


def _mass_allows(number: int, mass: float) -> bool:
    if number == 1:
        return _LIGHTEST <= mass <= _HEAVIEST_HYDROGEN
    return _LIGHTEST <= mass <= gemmi.Element(number).weight + _UNITED


def _no_element(name: str, symbol: str) -> Problem:
    return Problem(
        "this is no chemical element", f"{KEY}.{name}", symbol or "nothing", "a symbol such as C, Cl or Zn", "correct it"
    )


def _unclear(kinds: list[AtomKind]) -> Problem:
    names: dict[str, Counter[str]] = {}
    for kind in kinds:
        names.setdefault(kind.name, Counter())[kind.residue] += kind.count
    rows = [f"{name} ({_residues(found)})" for name, found in names.items()]
    line = ", ".join(f"{_yaml(name)}: {_yaml(_proposal(name))}" for name in names)
    n = sum(kind.count for kind in kinds)
    return Problem(
        what=f"the element of {n} atoms is unclear" if n > 1 else "the element of an atom is unclear",
        where="ensemble.topology",
        got=", ".join(rows[:20]) + (f" and {len(rows) - 20} more names" if len(rows) > 20 else ""),
        wanted="for each atom an element column, a name in a well-known residue, or a mass that agrees with its name",
        fix=f"check each and write `elements: {{{line}}}` under `ensemble`;"
        f" or leave out sites that are no atoms: `select: (...) and not name {' '.join(list(names)[:8])}`",
    )


def _residues(found: Counter[str]) -> str:
    rows = [f"{count} in {residue or 'no residue'}" for residue, count in found.most_common(3)]
    return ", ".join(rows) + (", …" if len(found) > 3 else "")


def _torn(torn: list[tuple[AtomKind, int, str]]) -> Problem:
    rows = [f"{kind.name} in {kind.residue} ({kind.count}): {said}" for kind, _, said in torn]
    line = ", ".join(f"{_yaml(name)}: {gemmi.Element(z).name}" for name, z in {kind.name: z for kind, z, _ in torn}.items())
    return Problem(
        what="the topology contradicts itself about elements",
        where="ensemble.topology",
        got="; ".join(rows[:8]) + (f"; and {len(rows) - 8} more" if len(rows) > 8 else ""),
        wanted="the element that the atom's name has in this residue",
        fix=f"correct the file, or decide with `elements: {{{line}}}` under `ensemble`",
    )


def _proposal(name: str) -> str:
    letters = re.sub(r"^\d+", "", name).upper()
    if letters[:2] in IONS or letters[:2] in ("SE", "SI", "LP", "EP", "MW"):
        return "?"
    return letters[:1] if letters[:1] in ("C", "N", "O", "H", "S", "P") else "?"


def _yaml(word: str) -> str:
    return word if re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", word) else json.dumps(word, ensure_ascii=False)
