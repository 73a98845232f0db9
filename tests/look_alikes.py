"""Folders as the tools of the field leave them, small, made of MDAnalysis' AdK: what users will name, with all its traps.

The layouts are those that each tool's documentation or source tells; the structures are real ones, moved as the tools move them.
"""

import bz2
import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

STANDARD = {"HSD": "HIS", "HSE": "HIS", "HSP": "HIS"}
BACKBONE = ("N", "CA", "C", "CB", "O")
FRAMES = 6


@dataclass(frozen=True, eq=False)
class Atoms:
    """AdK's heavy atoms in some frames, named as the PDB names them."""

    names: list[str]
    residues: list[str]
    numbers: list[int]
    """From 1."""
    positions: np.ndarray
    """(f, m, 3), Å."""

    def of(self, names) -> "Atoms":
        """Only atoms of these names, residue by residue in the order of `names`."""
        order = {name: place for place, name in enumerate(names)}
        chosen = [i for i, name in enumerate(self.names) if name in order]
        chosen.sort(key=lambda i: (self.numbers[i], order[self.names[i]]))
        listed = ([column[i] for i in chosen] for column in (self.names, self.residues, self.numbers))
        return Atoms(*listed, positions=self.positions[:, chosen])

    def moved(self, seed: int) -> "Atoms":
        """Every frame in a pose of its own: turned at random, up to 20 Å off."""
        random, out = np.random.default_rng(seed), np.empty_like(self.positions)
        for i, points in enumerate(self.positions):
            centred = points - points.mean(axis=0)
            out[i] = Rotation.from_quat(random.normal(size=4)).apply(centred) + random.uniform(-20, 20, 3)
        return replace(self, positions=out)

    @property
    def confidences(self) -> np.ndarray:
        """(m,): a pLDDT of 45 to 98, the same for all atoms of a residue."""
        return np.round(71.5 + 26.5 * np.sin(np.array(self.numbers) / 9), 2)


class LookAlikes:
    """`make(tool)` gives the folder of a tool; each is made once, when it is first asked for, and must not be changed."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._made: dict[str, Path] = {}
        self._makers: dict[str, Callable[[Path], None]] = {
            "bioemu": _bioemu, "bioemu_relaxed": _bioemu_relaxed, "bioemu_batches": _bioemu_batches, "alphaflow": _alphaflow,
            "boltz": _boltz, "alphafold3": _alphafold3, "alphafold3_server": _alphafold3_server, "cryobench": _cryobench,
            "gromacs": _gromacs, "gromacs_parts": _gromacs_parts, "namd": _namd, "amber": _amber, "openmm": _openmm,
            "mdtraj": _mdtraj, "h5md": _h5md, "nmr": _nmr, "structures": _structures, "arrays": _arrays,
            "arrays_npz": _arrays_npz, "arrays_zarr": _arrays_zarr,
        }  # fmt: skip

    @property
    def tools(self) -> tuple[str, ...]:
        """All that can be made."""
        return tuple(self._makers)

    @cached_property
    def heavy(self) -> Atoms:
        """Six frames of AdK's transition from closed to open."""
        return _adk()

    def make(self, tool: str) -> Path:
        if tool not in self._made:
            folder = self._folder / tool
            folder.mkdir()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # MDAnalysis' and h5py's own, about files that are as they should be
                self._makers[tool](folder) if tool in WITHOUT_ADK else self._makers[tool](folder, self.heavy)
            self._made[tool] = folder
        return self._made[tool]


def _adk() -> Atoms:
    from MDAnalysis import Universe
    from MDAnalysisTests.datafiles import DCD, PSF

    universe = Universe(PSF, DCD, to_guess=())
    heavy = universe.select_atoms("not name H*")
    positions = [heavy.positions.astype(float) for _ in universe.trajectory[:: 98 // (FRAMES - 1)]]
    names = []
    for name, residue in zip(heavy.names, heavy.resnames, strict=True):
        standard = {"OT1": "O", "OT2": "OXT"}.get(name, name)
        names.append("CD1" if (residue, name) == ("ILE", "CD") else standard)
    residues = [STANDARD.get(name, name) for name in heavy.resnames]
    return Atoms(names, residues, heavy.resids.tolist(), np.array(positions))


def _lines(atoms: Atoms, frame: int, b: np.ndarray | float, first: int = 1) -> list[str]:
    """ATOM records and TER; residues are numbered from `first`."""
    lines, number = [], 0
    b_factors = np.broadcast_to(b, len(atoms.names))
    for i, (name, residue) in enumerate(zip(atoms.names, atoms.residues, strict=True)):
        number, (x, y, z) = atoms.numbers[i] - 1 + first, atoms.positions[frame, i]
        lines.append(
            f"ATOM  {i + 1:>5}  {name:<3} {residue:>3} A{number:>4}    {x:8.3f}{y:8.3f}{z:8.3f}{1:6.2f}{b_factors[i]:6.2f}"
            f"          {name[0]:>2}  "
        )
    return [*lines, f"TER   {len(lines) + 1:>5}      {atoms.residues[-1]:>3} A{number:>4}"]


def _pdb(path: Path, atoms: Atoms, frame: int = 0, b: np.ndarray | float = 0.0, first: int = 1) -> None:
    path.write_text("\n".join([*_lines(atoms, frame, b, first), "END", ""]))


def _xtc(path: Path, positions: np.ndarray, start: float = 0.0) -> None:
    from MDAnalysis.lib.formats.libmdaxdr import XTCFile

    with XTCFile(str(path), "w") as file:
        for i, points in enumerate(positions):
            file.write((points / 10).astype(np.float32), np.zeros((3, 3), np.float32), i, start + i, 1000.0)


def _cif(path: Path, atoms: Atoms, frame: int) -> None:
    """With pLDDT as B, and a magnesium ion as a chain of its own."""
    import gemmi

    structure, model, chain, ions = gemmi.Structure(), gemmi.Model(1), gemmi.Chain("A"), gemmi.Chain("B")
    structure.name = path.stem
    residue = gemmi.Residue()
    for i, (name, kind) in enumerate(zip(atoms.names, atoms.residues, strict=True)):
        if i == 0 or atoms.numbers[i] != atoms.numbers[i - 1]:
            if i:
                chain.add_residue(residue)
            residue = gemmi.Residue()
            residue.name, residue.seqid, residue.subchain = kind, gemmi.SeqId(atoms.numbers[i], " "), "A"
            residue.het_flag = "A"
        residue.add_atom(_atom(gemmi, name, name[0], atoms.positions[frame, i], atoms.confidences[i]))
    chain.add_residue(residue)
    ion = gemmi.Residue()
    ion.name, ion.seqid, ion.subchain, ion.het_flag = "MG", gemmi.SeqId(1, " "), "B", "H"
    ion.add_atom(_atom(gemmi, "MG", "Mg", atoms.positions[frame].max(axis=0) + 2.0, 60.0))
    ions.add_residue(ion)
    for one in (chain, ions):
        model.add_chain(one)
    structure.add_model(model)
    structure.assign_serial_numbers()
    structure.make_mmcif_document().write_file(str(path))


def _atom(gemmi, name, element, position, b):
    atom = gemmi.Atom()
    atom.name, atom.element, atom.pos, atom.b_iso = name, gemmi.Element(element), gemmi.Position(*position), b
    return atom


def _batches(folder: Path, atoms: Atoms) -> None:
    """BioEmu's own files: the frames of the backbone, in nm, not superposed."""
    alphas = atoms.of(["CA"]).moved(1)
    letters = "G" * len(alphas.names)
    (folder / "sequence.fasta").write_text(f">0\n{letters}\n")
    turns = np.broadcast_to(np.eye(3, dtype=np.float32), (FRAMES, len(letters), 3, 3))
    pos = (alphas.positions / 10).astype(np.float32)
    np.savez(folder / f"batch_{0:07d}_{FRAMES:07d}.npz", pos=pos, node_orientations=turns, sequence=letters)


def _bioemu_batches(folder: Path, atoms: Atoms) -> None:
    _batches(folder, atoms)


def _bioemu(folder: Path, atoms: Atoms) -> None:
    """One sample of six was filtered out, the topology is of the first; superposed, since newer versions do that."""
    _batches(folder, atoms)
    backbone = atoms.of(BACKBONE)
    _pdb(folder / "topology.pdb", backbone, first=0)
    _xtc(folder / "samples.xtc", backbone.positions[:-1] - backbone.positions[0].mean(axis=0))


def _bioemu_relaxed(folder: Path, atoms: Atoms) -> None:
    """With side chains; one more was lost in the relaxation, which leaves every sample where its water box was."""
    _bioemu(folder, atoms)
    for stage, frames in (("sidechain_rec", FRAMES - 1), ("md_equil", FRAMES - 2)):
        _pdb(folder / f"samples_{stage}.pdb", atoms)
        _xtc(folder / f"samples_{stage}.xtc", atoms.moved(2).positions[:frames])


def _alphaflow(folder: Path, atoms: Atoms) -> None:
    """`MODEL 0` first, no `END`, confidence as B, every model in its own pose."""
    moved, text = atoms.moved(3), ""
    for k in range(FRAMES):
        text += "\n".join([f"MODEL {k}", *_lines(moved, k, atoms.confidences), "ENDMDL", ""])
    (folder / "4ake_A.pdb").write_text(text)


def _boltz(folder: Path, atoms: Atoms) -> None:
    models = folder / "boltz_results_adk" / "predictions" / "adk"
    models.mkdir(parents=True)
    moved = atoms.moved(4)
    for k in range(FRAMES):
        _cif(models / f"adk_model_{k}.cif", moved, k)
        (models / f"confidence_adk_model_{k}.json").write_text(json.dumps({"confidence_score": 0.9 - k / 100}))
        np.savez_compressed(models / f"plddt_adk_model_{k}.npz", plddt=atoms.of(["CA"]).confidences / 100)
    (folder / "boltz_results_adk" / "processed").mkdir()


def _alphafold3(folder: Path, atoms: Atoms) -> None:
    """The best sample, number 3, stands once more on top."""
    moved = atoms.moved(5)
    scores = [0.71, 0.73, 0.70, 0.79, 0.72]
    for k in range(5):
        sample = folder / f"seed-1_sample-{k}"
        sample.mkdir()
        _cif(sample / f"adk_seed-1_sample-{k}_model.cif", moved, k)
        (sample / f"adk_seed-1_sample-{k}_summary_confidences.json").write_text(json.dumps({"ranking_score": scores[k]}))
    shutil.copyfile(folder / "seed-1_sample-3" / "adk_seed-1_sample-3_model.cif", folder / "adk_model.cif")
    rows = [f"1,{k},{score}" for k, score in enumerate(scores)]
    (folder / "ranking_scores.csv").write_text("\n".join(["seed,sample,ranking_score", *rows, ""]))
    (folder / "adk_summary_confidences.json").write_text(json.dumps({"ranking_score": 0.79}))
    (folder / "adk_data.json").write_text(json.dumps({"name": "adk", "modelSeeds": [1]}))


def _alphafold3_server(folder: Path, atoms: Atoms) -> None:
    moved = atoms.moved(6)
    for k in range(5):
        _cif(folder / f"fold_adk_model_{k}.cif", moved, k)
        (folder / f"fold_adk_summary_confidences_{k}.json").write_text(json.dumps({"ranking_score": 0.8 - k / 100}))
        (folder / f"fold_adk_full_data_{k}.json").write_text("{}")
    (folder / "fold_adk_job_request.json").write_text(json.dumps([{"name": "adk", "modelSeeds": ["1"]}]))
    (folder / "terms_of_use.md").write_text("Terms\n")


def _cryobench(folder: Path, atoms: Atoms) -> None:
    _pdb(folder / "seed_structure.pdb", atoms)
    _xtc(folder / "sampled_pdbs.xtc", atoms.positions)


def _linked(folder: Path, **files: str) -> None:
    """Files of MDAnalysisTests under other names: `topol_tpr="TPR"` is its TPR as topol.tpr."""
    from MDAnalysisTests import datafiles

    for name, constant in files.items():
        (folder / name.replace("_", ".")).symlink_to(getattr(datafiles, constant))


def _gromacs(folder: Path) -> None:
    """47,681 atoms, 93 % of them water, molecules broken across the box; and what GROMACS and MDAnalysis leave beside."""
    _linked(folder, topol_tpr="TPR", conf_gro="GRO", traj_xtc="XTC")
    (folder / "#conf.gro.1#").write_text("an older one\n")
    (folder / ".traj.xtc_offsets.npz").write_bytes(b"PK\x05\x06" + bytes(18))
    (folder / ".traj.xtc_offsets.lock").touch()
    (folder / "md.log").write_text("a log\n")


def _gromacs_parts(folder: Path, atoms: Atoms) -> None:
    """A run that was continued with -noappend: the second part starts with the frame that the first ends with."""
    _pdb(folder / "conf.pdb", atoms)
    _xtc(folder / "traj.xtc", atoms.positions[:3])
    _xtc(folder / "traj.part0002.xtc", atoms.positions[2:], start=2.0)


def _namd(folder: Path) -> None:
    _linked(folder, adk_psf="PSF", adk_dcd="DCD")


def _amber(folder: Path) -> None:
    """A truncated octahedron."""
    from MDAnalysisTests.datafiles import PRM7, NCDFtruncoct

    (folder / "tz2.parm7").write_bytes(bz2.decompress(Path(PRM7).read_bytes()))
    (folder / "tz2.nc").symlink_to(NCDFtruncoct)


def _openmm(folder: Path, atoms: Atoms) -> None:
    from MDAnalysis.lib.formats.libdcd import DCDFile

    _pdb(folder / "adk.pdb", atoms)
    with DCDFile(str(folder / "adk.dcd"), "w") as file:
        file.write_header("", len(atoms.names), 0, 1, 1.0, 1)
        for points in atoms.positions:
            file.write(points.astype(np.float32), [90.0, 90.0, 90.0, 90.0, 90.0, 90.0])


def _mdtraj(folder: Path, atoms: Atoms) -> None:
    """The layout that MDTraj publishes for its HDF5 files, lengths in nm."""
    import h5py

    residues: dict[int, dict] = {}
    for i, (name, kind) in enumerate(zip(atoms.names, atoms.residues, strict=True)):
        number = atoms.numbers[i]
        empty = {"index": len(residues), "name": kind, "atoms": [], "resSeq": number, "segmentID": ""}
        residues.setdefault(number, empty)["atoms"].append({"index": i, "name": name, "element": name[0]})
    chain = {"index": 0, "chain_id": "A", "residues": list(residues.values())}
    alphas = {number: i for i, (name, number) in enumerate(zip(atoms.names, atoms.numbers, strict=True)) if name == "CA"}
    inside = [[alphas[atoms.numbers[i]], i] for i, name in enumerate(atoms.names) if name in ("N", "C", "CB")]
    topology = json.dumps({"chains": [chain], "bonds": inside}).encode()
    with h5py.File(folder / "trajectory.h5", "w") as file:
        file.attrs.update(conventions="Pande", conventionVersion="1.1", program="MDTraj", programVersion="1.11.0")
        arrays = {
            "coordinates": (atoms.positions / 10, "nanometers"),
            "time": (np.arange(len(atoms.positions)) * 2.0, "picoseconds"),
            "cell_lengths": (np.full((len(atoms.positions), 3), 9.0), "nanometers"),
            "cell_angles": (np.full((len(atoms.positions), 3), 90.0), "degrees"),
        }
        for name, (values, units) in arrays.items():
            dataset = file.create_dataset(name, data=values.astype(np.float32), maxshape=(None, *values.shape[1:]))
            dataset.attrs["units"] = np.bytes_(units)
        file.create_dataset("topology", data=np.array([topology]))


def _h5md(folder: Path) -> None:
    _linked(folder, cobrotoxin_h5md="H5MD_xvf", cobrotoxin_tpr="TPR_xvf")


def _nmr(folder: Path) -> None:
    """24 models of 392 atoms."""
    _linked(folder, neopetrosiamide_pdb="PDB_multiframe")


def _structures(folder: Path, atoms: Atoms) -> None:
    """In an order that is not the alphabet's."""
    for k, number in enumerate([1, 2, 3, 9, 10, 11]):
        _pdb(folder / f"state_{number}.pdb", atoms, k, b=20.0)


def _arrays(folder: Path, atoms: Atoms) -> None:
    """In nm, which nothing in the file says."""
    _pdb(folder / "adk.pdb", atoms)
    np.save(folder / "coordinates.npy", (atoms.positions / 10).astype(np.float32))


def _arrays_npz(folder: Path, atoms: Atoms) -> None:
    _pdb(folder / "adk.pdb", atoms)
    np.savez(folder / "ensemble.npz", coordinates=atoms.positions.astype(np.float32), weights=np.ones(FRAMES))


def _arrays_zarr(folder: Path, atoms: Atoms) -> None:
    import zarr

    _pdb(folder / "adk.pdb", atoms)
    values = atoms.positions.astype(np.float32)
    array = zarr.create_array(folder / "coordinates.zarr", shape=values.shape, dtype=values.dtype, chunks=(1, *values.shape[1:]))
    array[...] = values


WITHOUT_ADK = ("gromacs", "namd", "amber", "h5md", "nmr")
"""Tools whose files MDAnalysisTests has as they are."""
