"""The report's prose: the summary in words, the recipe as it would be written, the lines that open the store and repeat it."""

import json
import re
from typing import Any

import numpy as np

from ...tasks.render.certificate import relative
from ...tasks.values import FrameStatus
from ...workflows.provenance import ON_CARDS, PACKAGES
from ..documents.strict_yaml import shown
from ..events.quantities import counted, duration, figure, moment, size
from .facts import Facts

TABLES = {
    "peng1996": "Peng, Ren, Dudarev & Whelan, Acta Cryst. A52 (1996) 257–276 (International Tables C, table 4.3.2.2)",
    "lobato2014": "Lobato & Van Dyck, Acta Cryst. A70 (2014) 636–649",
}
"""Where scattering factors come from, by the recipe's `scattering.table`."""
ORDER = ("workflow", "average", "ensemble", "poses", "scattering", "grid", "render", "certificate", "store")
"""Of a recipe's sections, as the shipped ones have it."""
LONGEST_RECIPE = 50_000
"""Characters."""
PINNED = (*PACKAGES, *ON_CARDS)
"""Packages whose versions decide a store's bytes; of these a store names those that were there."""


def proof(facts: Facts) -> dict[str, Any] | None:
    """The certificate of a closed store, or what can be said of the frames so far; None where none was compared."""
    if facts.attributes.get("certificate") is not None:
        return facts.attributes["certificate"]
    if not facts.accuracies:
        return None
    l2, largest = relative([accuracy for _, accuracy in facts.accuracies])
    known = facts.frames.mass_error[np.isfinite(facts.frames.mass_error)]
    return {
        "frames": len(facts.accuracies),
        "voxels": sum(accuracy.n_voxels for _, accuracy in facts.accuracies),
        "relative_l2": l2,
        "largest_error": largest,
        "mass_error": float(known.max()) if len(known) else None,
        "tolerance": facts.attributes["recipe"]["render"]["tolerance"],
    }


def summary(facts: Facts) -> str:
    """One paragraph for somebody who was not there."""
    text = " ".join([_drawn(facts), _whole(facts), *_exact(facts), _made(facts)])
    return re.sub(r"(?<=\d) (?=(Å|[kMGT]?B|s|min|h|d|UTC)\b)", "\N{NO-BREAK SPACE}", text)


def _drawn(facts: Facts) -> str:
    layout, done = facts.layout, facts.frames.count(FrameStatus.DONE)
    z, y, x = layout.grid.shape
    quantity = facts.attributes["convention"].split(";")[0].replace("angstrom^-2", "Å⁻²")
    if (averaged := facts.attributes.get("n_frames_averaged")) is not None:
        return (
            f"{averaged:,} {_source(facts)} are drawn and averaged, in {counted(layout.n_frames, 'group')}, in a box of "
            f"{z} × {y} × {x} voxels of {layout.grid.voxel_size:g} Å: {quantity}. What this page calls a frame is a group."
        )
    return (
        f"{done:,} of {layout.n_frames:,} {_source(facts)} {'is' if done == 1 else 'are'} drawn, each in a box of "
        f"{z} × {y} × {x} voxels of {layout.grid.voxel_size:g} Å: {quantity}."
    )


def _source(facts: Facts) -> str:
    names = [source["name"] for source in facts.attributes["sources"]]
    files = f"{len(names)} files" if len(names) > 3 else " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
    if "parametrization" in facts.attributes:
        return f"frames that {facts.attributes['parametrization']} decodes from {files}"
    return f"{'poses' if 'map_shape' in facts.attributes else 'frames'} of {files}"


def _whole(facts: Facts) -> str:
    """What is missing, or that nothing is."""
    n = {status: facts.frames.count(status) for status in FrameStatus}
    skipped, failed, pending = (n[status] for status in (FrameStatus.SKIPPED, FrameStatus.FAILED, FrameStatus.PENDING))
    lost = f"{counted(skipped, 'frame').capitalize()} {_was(skipped)} skipped and {f'{failed:,}' if failed else 'none'} failed."
    if not pending:
        return lost
    return f"{lost} {counted(pending, 'frame').capitalize()} {'is' if pending == 1 else 'are'} still pending."


def _was(n: int) -> str:
    return "was" if n < 2 else "were"


def _exact(facts: Facts) -> list[str]:
    certificate = proof(facts)
    if certificate is None:
        return ["None has been compared with its oracle yet."]
    said = []
    if certificate.get("mass_error") is not None:
        bound = figure(certificate["mass_error"])
        said.append(f"In every drawn frame the sum over the voxels agrees with the analytic mass in the box to {bound}.")
    if (lost := certificate.get("lost")) is not None and lost > 1e-3:
        said.append(f"Up to {lost:.1%} of a frame's mass lies outside the box.")
    n, accepted = certificate["frames"], facts.attributes["recipe"]["render"].get("accept_error") or 0.0
    asked = f"{figure(certificate['tolerance'])} was asked for"
    wanted = f"the recipe accepts {figure(accepted)}" if accepted > certificate["tolerance"] else asked
    said.append(
        f"{counted(n, 'frame').capitalize()} {_was(n)} compared voxel by voxel with {certificate.get('against', 'the oracle')}, "
        f"at {certificate['voxels']:,} voxels: relative L2 error {figure(certificate['relative_l2'])}, where {wanted}."
    )
    return said


def _made(facts: Facts) -> str:
    runs = facts.history.runs
    on_disk = f"The store takes {size(facts.size)}"
    if not runs:
        return f"{on_disk}."
    elapsed = sum(run.elapsed or 0.0 for run in runs)
    began, last = (moment(at) for at in (runs[0].began, runs[-1].updated))
    when = f"on {began}" if len(runs) == 1 else f"from {began} to {last}"
    return f"{on_disk}; {counted(len(runs), 'run')} worked on it, {duration(elapsed)} together, {when}."


def source_of_table(facts: Facts) -> str | None:
    """The paper that the scattering factors are from; None where there are none."""
    name = facts.attributes["recipe"].get("scattering", {}).get("table")
    return None if name is None else TABLES.get(name, name)


def whole_recipe(attributes: dict[str, Any], store: str) -> dict[str, Any]:
    """The recipe that the store keeps, with the names of its inputs put back: the files then lie beside it, the store at `store`.

    A store knows its inputs by their bytes and keeps no paths (`workflows.recipe.NEUTRAL`); its `sources` are in the order of
    these keys.
    """
    recipe = {key: dict(value) if isinstance(value, dict) else value for key, value in attributes["recipe"].items()}
    names = iter([source["name"] for source in attributes["sources"]])
    ensemble = recipe["ensemble"]
    if "parametrization" in ensemble:
        next(names, None)  # the module, which has a key of its own
        ensemble |= {key: {argument: next(names, "") for argument in ensemble[key]} for key in ("files", "each")}
    else:
        first = {key: next(names, "") for key in (("map",) if "map_shape" in attributes else ("topology", "coordinates"))}
        recipe["ensemble"] = first | ensemble
    if recipe["poses"] and (table := next(names, None)) is not None:
        recipe["poses"] = {"table": table, **recipe["poses"]}
    recipe["store"] = {"path": store, **recipe["store"]}
    return {key: recipe[key] for key in sorted(recipe, key=lambda key: ORDER.index(key) if key in ORDER else len(ORDER))}


def recipe_text(facts: Facts) -> str:
    """`whole_recipe` as YAML."""
    text = "\n".join(_yaml(whole_recipe(facts.attributes, facts.name.partition("/")[0])))
    if len(text) <= LONGEST_RECIPE:
        return text
    return f"{text[:LONGEST_RECIPE]}\n# … cut here: the store's attributes have all of it"


def _yaml(mapping: dict[str, Any], indent: str = "") -> list[str]:
    lines = []
    for key, value in mapping.items():
        short = not isinstance(value, dict) or not any(isinstance(below, dict) for below in value.values())
        if isinstance(value, dict) and value and not (indent and short):
            lines += [f"{indent}{_flow(key)}:", *_yaml(value, f"{indent}  ")]
        else:
            lines.append(f"{indent}{_flow(key)}: {_flow(value)}")
    return lines


def _flow(value: Any) -> str:
    """On one line. JSON's strings, numbers and lists are YAML; what needs no quotes has none."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(below)}" for key, below in value.items()) + "}"
    plain = isinstance(value, str) and shown(value, len(value) + 2) == value
    return value if plain else json.dumps(value, ensure_ascii=False)


def opening(facts: Facts) -> str:
    """Three lines of Python."""
    done = np.flatnonzero(facts.frames.status == FrameStatus.DONE)
    frame = int(done[len(done) // 2]) if len(done) else 0
    return (
        "import zarr\n"
        f'store = zarr.open({json.dumps(facts.name, ensure_ascii=False)}, mode="r")\n'
        f'volume = store["potential"][{frame}]  # (z, y, x){f", {facts.units}" if facts.units else ""}'
    )


def repeating(facts: Facts) -> tuple[str, str]:
    """How to make the store anew, in words and as lines of a shell."""
    versions = facts.attributes.get("versions", {})
    pins = " ".join(f"{name}=={versions[name]}" for name in PINNED if name in versions)
    words = (
        "Save the recipe above as recipe.yaml beside the input files (their digests tell whether they are the same) and run it "
        f"with Python {versions.get('python', '')} and these versions. {_same(facts.engines)}"
    )
    return words, f"pip install {pins}\ncryovox run recipe.yaml"


def _same(engines: tuple[str, ...]) -> str:
    """How alike a store made anew is: bytes depend on what drew, on what, and on who compressed."""
    drew = {engine.partition(" ")[0] for engine in engines}
    encoders = sorted({encoder for engine in engines if (encoder := engine.partition(" ")[2])})
    if len(drew) != 1:
        made = f"{' and '.join(sorted(drew))} made it, each some shards: the" if drew else "The"
        return f"{made} voxels agree within the tolerance."
    if encoders:
        return (
            "On the same kind of processor the voxels are the same; elsewhere they agree within the tolerance. A card compressed "
            f"bricks of it ({', '.join(encoders)}): where another one does that, or none, the files are other bytes."
        )
    return "On the same kind of processor the store has the same bytes; elsewhere it agrees within the tolerance."
