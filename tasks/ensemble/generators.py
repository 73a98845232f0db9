"""Ensembles that programs sample rather than simulate, each by the folder that it leaves: BioEmu, AlphaFlow, Boltz, AlphaFold 3.

The layouts are those of microsoft/bioemu (sample.py, sidechain_relax.py), bjing2016/alphaflow (predict.py), jwohlwend/boltz
(docs/prediction.md), google-deepmind/alphafold3 (docs/output.md), and CryoBench's Spike-MD.
"""

import csv
import re
from pathlib import Path

from ..errors import Problem, Refusal
from . import peek
from .listing import SAMPLE, bare, entries, path_key, samples, structures
from .offer import ALIGN, CONFIDENCE, POSES, Offer, Recognised

CONSTANT = {"scattering.b_factor.policy": "constant"}
RELAXED = ("md_equil", "sidechain_rec")
"""BioEmu's stages after sampling, the last first."""
BACKBONE = (
    "{name} holds the backbone alone (N, CA, C, CB, O), 62 % of what the heavy atoms scatter → side chains come from "
    "`python -m bioemu.sidechain_relax`, then `ensemble.coordinates: samples_sidechain_rec.xtc`"
)
COPY = "{name} is a copy of the best sample{best} → left out"
ZERO = "the B column is 0 throughout → one B for all atoms: `scattering.b_factor: {policy: constant, value: 30}`"
FEWER = "{name} may have fewer frames than were asked for: unphysical samples are left out → `cryovox inspect` counts them"


def _bioemu(offer: Offer) -> Recognised | None:
    """Topology and samples, those with side chains where there are any; the batches alone are refused."""
    plain = (offer.one(r"topology\.pdb"), offer.one(r"samples\.xtc"))
    stages = {stage: tuple(offer.one(rf".*_{stage}\.{kind}") for kind in ("pdb", "xtc")) for stage in RELAXED}
    pairs = {name: pair for name, pair in {**stages, "": plain}.items() if all(pair)}
    batches = [path for path in offer.of(".npz") if _is_batch(path)]
    others = [path for path in offer.trajectories if path not in {xtc for _, xtc in pairs.values()}]
    if all(plain) and not _is_backbone(plain[0]):
        pairs.pop("", None)
    if not pairs:
        if batches and not offer.trajectories and (offer.folder is not None or not offer.structures):
            raise Refusal(_batches_alone(batches))
        return None
    if others and offer.folder is None:
        return None
    stage = next(iter(pairs))
    topology, coordinates = pairs[stage]
    assert topology is not None
    assert coordinates is not None
    left = [path for pair in pairs.values() for path in pair if path is not None and path not in (topology, coordinates)]
    notes = [POSES, ZERO, FEWER.format(name=coordinates.name)]
    if stage:
        notes.insert(0, f"{coordinates.name} has side chains, samples.xtc the backbone alone → `ensemble.coordinates`")
    else:
        notes.insert(0, BACKBONE.format(name=coordinates.name))
    if batches:
        notes.append(f"{batches[0].name} holds no atoms but one frame a residue (its CA, in nm) → not used")
    defaults = {**CONSTANT, "ensemble.align": ALIGN}
    return Recognised("BioEmu samples", topology, (coordinates,), defaults, tuple(notes), (*left, *batches))


def _is_backbone(path: Path | None) -> bool:
    """A PDB that begins with nothing but the atoms that BioEmu places."""
    lines = peek.head(path).decode("latin-1").splitlines() if path is not None else []
    return {line[12:16].strip() for line in lines[:-1] if line.startswith("ATOM")} <= {"N", "CA", "C", "CB", "O"}


def _is_batch(path: Path) -> bool:
    if not re.fullmatch(r"batch_\d+_\d+\.npz", path.name):
        return False
    try:
        return {"pos", "node_orientations"} <= {array.name for array in peek.arrays(path)}
    except ValueError:
        return False  # a damaged batch is no reason to refuse the samples


def _batches_alone(batches: list[Path]) -> Problem:
    shape = next(array.shape for array in peek.arrays(batches[0]) if array.name == "pos")
    beside = batches[0].parent / "samples.xtc"
    fix = (
        "`cryovox init` the folder"
        if beside.is_file()
        else "run BioEmu again with the same --output_dir: it writes them from the batches"
    )
    return Problem(
        "BioEmu's batches hold no atoms",
        str(batches[0]),
        f"`pos` {shape}: where the CA of each residue is, in nm, every sample in a pose of its own; no side chains",
        "samples.xtc and topology.pdb, which have the backbone",
        f"{fix}; or name a PDB of the CA atoms as well, to draw these alone",
    )


def _cryobench(offer: Offer) -> Recognised | None:
    topology, coordinates = offer.one(r"seed_structure\.pdb"), offer.one(r".*sampled_pdbs\.xtc")
    if topology is None or coordinates is None or len(offer.trajectories) > 1:
        return None
    notes = (
        "frame n is the structure of particle n and of volume n → all frames are kept in order: `ensemble.frames` as it is, and "
        "`on_bad_frame: skip` leaves a gap rather than shift the numbers",
        "the images were made of these poses → `ensemble.align: null` and `center: first` keep them; superpose for another use",
    )
    return Recognised("CryoBench ensemble", topology, (coordinates,), {"ensemble.align": None, "ensemble.center": "first"}, notes)


def _alphafold3(offer: Offer) -> Recognised | None:
    """The samples of the program's folder, without the best one's copy on top; or the server's, which are flat."""
    server = _numbered(offer.structures, r"fold_(.+)_model_(\d+)\.cif(?:\.gz)?")
    if server:
        files, left = _one_input(offer, server), ()
        return _predicted("AlphaFold 3 samples", files, [], left)
    if offer.folder is None:
        inside = sorted((path for path in offer.structures if SAMPLE.fullmatch(path.parent.name)), key=path_key)
        rest = [path for path in offer.structures if path not in inside]
        if not inside or any(path.parent != inside[0].parent.parent or not bare(path).endswith("model") for path in rest):
            return None
        return _predicted("AlphaFold 3 samples", inside, [COPY.format(name=path.name, best="") for path in rest], tuple(rest))
    files = samples(offer.folder)
    if not files:
        return None
    copies = tuple(path for path in offer.structures if bare(path).endswith("model"))
    notes = [COPY.format(name=copy.name, best=_best(offer)) for copy in copies]
    return _predicted("AlphaFold 3 samples", files, notes, copies)


def _best(offer: Offer) -> str:
    """Which sample `ranking_scores.csv` puts first, as a clause."""
    path = offer.one(r"(.*_)?ranking_scores\.csv")
    if path is None:
        return ""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [(float(row["ranking_score"]), row["seed"], row["sample"]) for row in csv.DictReader(lines)]
        _, seed, sample = max(rows, key=lambda row: row[0])
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return ""  # the table only names the sample
    return f" (seed {seed}, sample {sample})"


def _boltz(offer: Offer) -> Recognised | None:
    """`X_model_k.cif` with its confidence beside: named, in `predictions/X`, or one such folder below the one that was named."""
    files = _models(offer.structures)
    if not files and offer.folder is not None and not offer.structures:
        below = [models for folder in _below(offer.folder) if (models := _models(structures(folder)))]
        if len(below) > 1:
            fix = f"name one: `cryovox init {below[0][0].parent}`"
            listed = ", ".join(models[0].parent.name for models in below[:6])
            raise Refusal(Problem("the folder holds the models of several inputs", offer.where, listed, "one input's", fix))
        files = below[0] if below else []
    return _predicted("Boltz models", files, [], ()) if files else None


def _below(folder: Path) -> list[Path]:
    """Where Boltz leaves each input's models: `boltz_results_X/predictions/X`, from any of the three."""
    found: list[Path] = []
    level = [folder]
    for _ in range(3):
        level = [path for above in level for path in entries(above) if path.is_dir()][:1000]
        found += level
    return found


def _models(files: list[Path]) -> list[Path]:
    numbered = _numbered(files, r"(.+)_model_(\d+)\.(?:cif|pdb)")
    mine = {
        name: models
        for name, models in numbered.items()
        if models[0].parent.name == name or models[0].with_name(f"confidence_{models[0].stem}.json").is_file()
    }
    return next(iter(mine.values())) if len(mine) == 1 and len(mine) == len(numbered) else []


def _numbered(files: list[Path], pattern: str) -> dict[str, list[Path]]:
    """Files that match, by the pattern's first group; empty where some do not match."""
    groups: dict[str, list[Path]] = {}
    for path in files:
        match = re.fullmatch(pattern, path.name)
        if match is None:
            return {}
        groups.setdefault(match[1], []).append(path)
    return {name: sorted(group, key=path_key) for name, group in groups.items()}


def _one_input(offer: Offer, groups: dict[str, list[Path]]) -> list[Path]:
    if len(groups) > 1:
        files = next(iter(groups.values()))
        fix = f"name one job's files: `cryovox init {files[0].with_name(files[0].name.replace('_model_0', '_model_?'))}`"
        raise Refusal(Problem("the files are of several jobs", offer.where, ", ".join(list(groups)[:6]), "one job's models", fix))
    return next(iter(groups.values()))


def _predicted(source: str, files: list[Path], notes: list[str], left: tuple[Path, ...]) -> Recognised:
    """Structures with a confidence as B, each in a pose of its own; ligands and ions among them."""
    notes = [*notes, POSES, CONFIDENCE, "ligands, ions and nucleic acids are drawn as well → `ensemble.select: all`"]
    defaults = {**CONSTANT, "ensemble.align": ALIGN, "ensemble.select": "all"}
    return Recognised(source, None, tuple(files), defaults, tuple(notes), left)


def _alphaflow(offer: Offer) -> Recognised | None:
    """One PDB whose models are counted from 0 and that nothing ends."""
    files = offer.of(".pdb")
    if len(files) != 1 or offer.trajectories or len(offer.structures) > 1:
        return None
    glance = peek.structure(files[0])
    if glance.first_model != 0 or glance.ends or not glance.several:
        return None
    notes = (POSES, CONFIDENCE, "models are counted from 0, as frames are: frame n is MODEL n")
    return Recognised("AlphaFlow or ESMFlow models", None, tuple(files), {**CONSTANT, "ensemble.align": ALIGN}, notes)


GENERATORS = (_alphafold3, _boltz, _bioemu, _cryobench, _alphaflow)
"""Each answers None where the files are not its own."""
