"""Every tool's folder is known by its files, and what does not fit together is refused with what would."""

import gzip
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cryovox.tasks.ensemble import offer, sources
from cryovox.tasks.ensemble.listing import STRUCTURES
from cryovox.tasks.ensemble.recognise import expand, natural_key, recognise, repeated
from cryovox.tasks.errors import Refusal

ALIGN = {"to": "first", "select": "name CA"}
CONSTANT = {"scattering.b_factor.policy": "constant", "ensemble.align": ALIGN}
PREDICTED = {**CONSTANT, "ensemble.select": "all"}

TOOLS = [
    # tool, source, topology, first and last coordinates, how many, defaults, left out
    ("bioemu", "BioEmu samples", "topology.pdb", "samples.xtc", "samples.xtc", 1, CONSTANT, ["batch_0000000_0000006.npz"]),
    ("bioemu_relaxed", "BioEmu samples", "samples_md_equil.pdb", "samples_md_equil.xtc", "samples_md_equil.xtc", 1, CONSTANT,
     ["samples_sidechain_rec.pdb", "samples_sidechain_rec.xtc", "topology.pdb", "samples.xtc", "batch_0000000_0000006.npz"]),
    ("alphaflow", "AlphaFlow or ESMFlow models", None, "4ake_A.pdb", "4ake_A.pdb", 1, CONSTANT, []),
    ("boltz", "Boltz models", None, "adk_model_0.cif", "adk_model_5.cif", 6, PREDICTED, []),
    ("alphafold3", "AlphaFold 3 samples", None, "adk_seed-1_sample-0_model.cif", "adk_seed-1_sample-4_model.cif", 5, PREDICTED,
     ["adk_model.cif"]),
    ("alphafold3_server", "AlphaFold 3 samples", None, "fold_adk_model_0.cif", "fold_adk_model_4.cif", 5, PREDICTED, []),
    ("cryobench", "CryoBench ensemble", "seed_structure.pdb", "sampled_pdbs.xtc", "sampled_pdbs.xtc", 1,
     {"ensemble.align": None, "ensemble.center": "first"}, []),
    ("gromacs", "GROMACS trajectory", "topol.tpr", "traj.xtc", "traj.xtc", 1, {}, ["conf.gro"]),
    ("gromacs_parts", "GROMACS or MDTraj trajectory", "conf.pdb", "traj.xtc", "traj.part0002.xtc", 2, {}, []),
    ("namd", "NAMD or CHARMM trajectory", "adk.psf", "adk.dcd", "adk.dcd", 1, {}, []),
    ("amber", "AMBER trajectory", "tz2.parm7", "tz2.nc", "tz2.nc", 1, {}, []),
    ("openmm", "OpenMM or MDTraj trajectory", "adk.pdb", "adk.dcd", "adk.dcd", 1, {}, []),
    ("mdtraj", "MDTraj HDF5 trajectory", None, "trajectory.h5", "trajectory.h5", 1, {}, []),
    ("h5md", "H5MD trajectory", "cobrotoxin.tpr", "cobrotoxin.h5md", "cobrotoxin.h5md", 1, {}, []),
    ("nmr", "NMR bundle or other multi-model file", None, "neopetrosiamide.pdb", "neopetrosiamide.pdb", 1, {}, []),
    ("structures", "structures", None, "state_1.pdb", "state_11.pdb", 6, {}, []),
    ("arrays", "coordinate arrays", "adk.pdb", "coordinates.npy", "coordinates.npy", 1, {}, []),
    ("arrays_npz", "coordinate arrays", "adk.pdb", "ensemble.npz", "ensemble.npz", 1, {}, []),
    ("arrays_zarr", "coordinate arrays", "adk.pdb", "coordinates.zarr", "coordinates.zarr", 1, {}, []),
]  # fmt: skip


@pytest.mark.parametrize(
    ("tool", "source", "topology", "first", "last", "n", "defaults", "left"), TOOLS, ids=[t[0] for t in TOOLS]
)
def test_each_tools_folder_is_known(look_alikes, tool, source, topology, first, last, n, defaults, left):
    found = recognise([look_alikes.make(tool)])
    assert found.source == source
    assert (found.topology.name if found.topology else None) == topology
    names = [path.name for path in found.coordinates]
    assert (names[0], names[-1], len(names)) == (first, last, n)
    assert found.defaults == defaults
    assert [path.name for path in found.left_out] == left
    assert all("→" in note for note in found.notes if not note.startswith(("one ", "6 ", "arrays", "models")))


def test_every_tool_of_the_look_alikes_is_known_or_refused(look_alikes):
    assert {tool for tool, *_ in TOOLS} == set(look_alikes.tools) - {"bioemu_batches"}


@pytest.mark.parametrize(
    "tool", ["bioemu", "cryobench", "gromacs", "gromacs_parts", "namd", "amber", "h5md", "arrays", "arrays_zarr"]
)
def test_the_files_named_one_by_one_are_what_their_folder_is(look_alikes, tool):
    folder = recognise([look_alikes.make(tool)])
    files = recognise([*reversed(folder.coordinates), folder.topology])
    assert (files.source, files.topology, files.coordinates) == (folder.source, folder.topology, folder.coordinates)


@pytest.mark.parametrize("tool", ["boltz", "alphafold3", "alphafold3_server", "alphaflow", "nmr", "structures", "mdtraj"])
def test_so_are_files_that_need_no_topology(look_alikes, tool):
    folder = recognise([look_alikes.make(tool)])
    files = recognise([*reversed(folder.coordinates), *folder.left_out])
    assert (files.source, files.coordinates, files.left_out) == (folder.source, folder.coordinates, folder.left_out)


def test_boltz_is_known_from_any_of_its_folders(look_alikes):
    top = look_alikes.make("boltz") / "boltz_results_adk"
    found = [recognise([folder]).coordinates for folder in (top, top / "predictions", top / "predictions" / "adk")]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 6


def test_the_best_sample_is_named(look_alikes):
    notes = recognise([look_alikes.make("alphafold3")]).notes
    assert any("copy of the best sample (seed 1, sample 3)" in note for note in notes)


def test_recognising_imports_no_parser(look_alikes):
    folders = [str(look_alikes.make(tool)) for tool, *_ in TOOLS]
    code = (
        "import sys; from cryovox.tasks.ensemble.recognise import recognise\n"
        f"for folder in {folders!r}: recognise([folder])\n"
        "print(sorted({'MDAnalysis', 'gemmi', 'h5py', 'zarr', 'scipy', 'jax'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_kind_of_file_that_is_read_is_known_and_no_other():
    known = {*offer.TOPOLOGIES, *offer.TRAJECTORIES, *offer.ARRAYS, *offer.FILES, *STRUCTURES}
    assert known == {*sources.TOPOLOGIES, *sources.TRAJECTORIES, *sources.STRUCTURES}


def test_of_files_beside_each_other_the_most_telling_topology_and_the_first_format_are_taken():
    assert offer.TOPOLOGIES == (".tpr", ".psf", ".prmtop", ".parm7", ".top", ".gro")
    assert offer.TRAJECTORIES == (
        ".xtc", ".trr", ".dcd", ".nc", ".ncdf", ".netcdf", ".mdcrd", ".crdbox", ".trj", ".h5md",
    )  # fmt: skip
    assert (*offer.AMBER, ".h5md") == offer.TRAJECTORIES[3:]
    assert (offer.ARRAYS, offer.FILES) == ((".npy", ".npz", ".zarr"), (".h5", ".hdf5"))


def test_names_are_sorted_as_people_count():
    right = [
        "a.pdb",
        "a1.pdb",
        "a2.pdb",
        "A2b.pdb",
        "a10.pdb",
        "b1_2.cif",
        "b1_10.cif",
        "traj.xtc",
        "traj.part0002.xtc",
        "traj.part0010.xtc",
    ]
    assert sorted(sorted(right), key=natural_key) == right
    assert natural_key("x01") != natural_key("x1")
    assert sorted(["x", "1", "", ".x", "1x", "x.1"], key=natural_key)


def test_digits_of_other_kinds_are_letters():
    names = ["frame1²2.pdb", "frame1²10.pdb", "frame².pdb", "x٣.pdb", "x①.pdb", "x2.pdb"]
    found = sorted(names, key=natural_key)
    assert found.index("frame1²2.pdb") < found.index("frame1²10.pdb")


def refused(*paths: Path) -> str:
    with pytest.raises(Refusal) as refusal:
        recognise(paths)
    assert all(problem.what and problem.where for problem in refusal.value.problems)
    return str(refusal.value)


def test_batches_without_samples_are_explained(look_alikes):
    text = refused(look_alikes.make("bioemu_batches"))
    assert "pos" in text
    assert "nm" in text
    assert "samples.xtc" in text
    batch = next(look_alikes.make("bioemu").glob("batch*.npz"))
    assert "`cryovox init` the folder" in refused(batch)


def test_a_trajectory_without_topology_is_told_what_lies_beside_it(look_alikes):
    text = refused(look_alikes.make("gromacs") / "traj.xtc")
    assert "conf.gro" in text
    assert "topol.tpr" in text
    assert "#conf.gro.1#" not in text
    assert "adk.pdb" in refused(look_alikes.make("arrays") / "coordinates.npy")


def test_several_topologies_are_refused(look_alikes, tmp_path):
    folder = look_alikes.make("openmm")
    for name in ("one.pdb", "two.pdb"):
        shutil.copyfile(folder / "adk.pdb", tmp_path / name)
    shutil.copyfile(folder / "adk.dcd", tmp_path / "run.dcd")
    assert "one.pdb, two.pdb" in refused(tmp_path)
    assert "several" in refused(tmp_path / "one.pdb", tmp_path / "two.pdb", tmp_path / "run.dcd")
    shutil.copyfile(folder / "adk.pdb", tmp_path / "run.pdb")  # the trajectory's own name decides in a folder
    assert recognise([tmp_path]).topology == tmp_path / "run.pdb"


def test_several_ensembles_are_refused(look_alikes, tmp_path):
    one, two = look_alikes.make("openmm"), look_alikes.make("structures")
    assert "several ensembles" in refused(one, two)
    arrays = look_alikes.make("arrays")
    assert "do not belong together" in refused(one / "adk.pdb", one / "adk.dcd", arrays / "coordinates.npy")
    for name in ("nvt.xtc", "npt.xtc"):
        shutil.copyfile(look_alikes.make("gromacs_parts") / "traj.xtc", tmp_path / name)
    assert "npt.xtc, nvt.xtc" in refused(tmp_path)


def test_what_is_not_there_or_not_readable_is_named_all_at_once(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    text = refused(tmp_path / "missing.xtc", tmp_path / "notes.txt")
    assert "there is no such file" in text
    assert "this kind of file is not read here" in text
    assert "empty" in refused(tmp_path)
    assert "nothing that could be drawn" in refused(tmp_path / "empty")


def test_arrays_are_told_by_their_header_and_never_unpickled(look_alikes, tmp_path):
    topology = look_alikes.make("arrays") / "adk.pdb"
    np.save(tmp_path / "objects.npy", np.array([[[object()] * 3] * 2]), allow_pickle=True)
    np.save(tmp_path / "flat.npy", np.zeros((4, 9), np.float32))
    np.savez(tmp_path / "two.npz", a=np.zeros((4, 5, 3)), b=np.zeros((4, 5, 3)))
    (tmp_path / "lies.npy").write_bytes(b"no array")
    text = refused(topology, *(tmp_path / name for name in ("objects.npy", "flat.npy", "two.npz", "lies.npy")))
    assert "of object" in text
    assert "shape (4, 9)" in text
    assert "a: shape (4, 5, 3) of float64; b:" in text
    assert "holds no arrays" in text


def test_a_topology_alone_has_no_frames(look_alikes):
    assert "traj.xtc" in refused(look_alikes.make("gromacs") / "topol.tpr")


def test_a_gromacs_list_of_includes_is_no_topology(look_alikes, tmp_path):
    folder = look_alikes.make("gromacs_parts")
    for name in ("conf.pdb", "traj.xtc"):
        shutil.copyfile(folder / name, tmp_path / name)
    (tmp_path / "topol.top").write_text('#include "amber99.ff/forcefield.itp"\n')
    assert recognise([tmp_path]).topology == tmp_path / "conf.pdb"


def test_a_prediction_is_known_by_its_words_and_models_by_both_ends(look_alikes, tmp_path):
    atoms = (look_alikes.make("structures") / "state_1.pdb").read_text().removesuffix("END\n")
    cases = {
        "one.pdb": (f"MODEL        1\n{atoms}ENDMDL\nEND\n", "structures", {}),
        "two.pdb": (
            f"MODEL        1\n{atoms}ENDMDL\nMODEL        2\n{atoms}ENDMDL\nEND\n",
            "NMR bundle or other multi-model file",
            {},
        ),
        "af.pdb": (f"TITLE     ALPHAFOLD MONOMER V2.0 PREDICTION\n{atoms}END\n", "structures", CONSTANT),
    }
    for name, (text, source, defaults) in cases.items():
        (tmp_path / name).write_text(text)
        found = recognise([tmp_path / name])
        assert (found.source, found.defaults) == (source, defaults), name
    (tmp_path / "z.pdb.gz").write_bytes(gzip.compress(cases["two.pdb"][0].encode()))
    assert recognise([tmp_path / "z.pdb.gz"]).source == "NMR bundle or other multi-model file"


def test_an_mmcif_of_many_models_is_known_by_its_last_atom(look_alikes, tmp_path):
    cif = look_alikes.make("boltz") / "boltz_results_adk" / "predictions" / "adk" / "adk_model_0.cif"
    lines = cif.read_text().splitlines()
    assert recognise([shutil.copyfile(cif, tmp_path / "x.cif")]).source == "structures"
    again = [" ".join([*line.split()[:-1], "2"]) for line in lines if line.startswith(("ATOM", "HETATM"))]
    last = max(i for i, line in enumerate(lines) if line.startswith(("ATOM", "HETATM"))) + 1
    (tmp_path / "x.cif").write_text("\n".join([*lines[:last], *again, *lines[last:], ""]))
    assert recognise([tmp_path / "x.cif"]).source == "NMR bundle or other multi-model file"


def test_patterns_mean_files_in_natural_order(look_alikes):
    folder = look_alikes.make("structures")
    right = [f"state_{n}.pdb" for n in (1, 2, 3, 9, 10, 11)]
    for patterns in (["."], ["*.pdb"], ["state_?.pdb", "state_??.pdb"], [str(folder)], [f"{folder}/s*.pdb"]):
        assert [path.name for path in expand(patterns, folder)] == right, patterns
    assert [path.name for path in expand(["state_9.pdb", "state_1.pdb"], folder)] == ["state_9.pdb", "state_1.pdb"]
    assert expand(["missing.pdb"], folder) == [folder / "missing.pdb"]


def test_a_folder_of_samples_leaves_the_copy_of_the_best_out(look_alikes):
    folder = look_alikes.make("alphafold3")
    names = [path.name for path in expand([folder.name], folder.parent)]
    assert names == [f"adk_seed-1_sample-{k}_model.cif" for k in range(5)]
    assert list(recognise([folder]).coordinates) == expand(["."], folder)


def test_names_with_letters_of_a_glob_are_taken_as_they_stand(tmp_path):
    for name in ("a[1].pdb", "a1.pdb", "b*.pdb", "b2.pdb", ".hidden.pdb", "#a1.pdb.1#", "new\nline.pdb"):
        (tmp_path / name).write_text("x")
    assert [path.name for path in expand(["a[1].pdb", "b*.pdb"], tmp_path)] == ["a[1].pdb", "b*.pdb"]
    assert [path.name for path in expand(["a[?].pdb"], tmp_path)] == ["a[1].pdb"]
    assert [path.name for path in expand(["*"], tmp_path)] == ["a1.pdb", "a[1].pdb", "b2.pdb", "b*.pdb", "new\nline.pdb"]


def test_what_a_pattern_does_not_mean_is_refused_with_what_is_there(look_alikes, tmp_path, monkeypatch):
    folder = look_alikes.make("gromacs")
    with pytest.raises(Refusal) as refusal:
        expand(["*.dcd", "."], folder)
    first, second = refusal.value.problems
    assert "no file has such a name" in first.what
    assert "traj.xtc" in first.fix
    assert "no structures" in second.what
    monkeypatch.setattr("cryovox.tasks.ensemble.listing.MOST", 5)
    with pytest.raises(Refusal, match="multi-model file"):
        expand(["*.pdb"], look_alikes.make("structures"))


def test_a_file_named_twice_is_kept_and_told(look_alikes):
    folder = look_alikes.make("structures")
    files = expand(["state_1.pdb", "*.pdb", "../structures/state_1.pdb"], folder)
    assert len(files) == 8
    (note,) = repeated(files)
    assert "state_1.pdb" in note
    assert "3 times" in note
    assert any("2 times" in note for note in recognise([folder / "state_1.pdb", folder / "state_1.pdb"]).notes)
