"""Ensembles: files of frames that do not fit, end badly or lie, refused before anything is created, or noted."""

import hashlib

import numpy as np
import pytest

COORDINATES = "ensemble.coordinates"
FRAMES = "ensemble.frames"


def other_topology(bench):
    lines = [line for i, line in enumerate(bench.lines) if i != 7]
    bench.text("\n".join([*lines, "END", ""]), "short.pdb")
    return bench.recipe({"topology": "short.pdb"})


def ended(name, change, **keys):
    """The trajectory's bytes changed."""

    def make(bench):
        getattr(bench, name.rpartition(".")[2])(name)
        path = bench.folder / name
        path.write_bytes(change(path.read_bytes()))
        return bench.recipe({"coordinates": name, **keys})

    return make


def frames(**chosen):
    return lambda bench: bench.recipe({"frames": chosen or []})


def keys(**ensemble):
    return lambda bench: bench.recipe(ensemble)


def digest(bench):
    """One bit of the middle of the file, which no parser would miss."""
    path = bench.folder / "good.xtc"
    raw = bytearray(path.read_bytes())
    right = hashlib.sha256(raw).hexdigest()
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    return bench.recipe({"sha256": {"good.xtc": right}})


def array(values, name="a.npy", **more):
    """`values(bench)` as an array of coordinates."""

    def make(bench):
        made = values(bench)
        if name.endswith(".npz"):
            np.savez(bench.folder / name, **made)
        else:
            np.save(bench.folder / name, made, allow_pickle=True)
        return bench.recipe({"coordinates": name, **more})

    return make


def first_frame(change):
    def make(bench):
        return bench.recipe({"coordinates": bench.dcd("first.dcd", bench.frames(change, 0))})

    return make


def put(value):
    def change(points):
        points[...] = value

    return change


def lies(name):
    return ended_as("good.xtc", name)


def ended_as(true, name):
    def make(bench):
        bench.bytes((bench.folder / true).read_bytes(), name)
        return bench.recipe({"coordinates": name})

    return make


def other_atoms(bench):
    bench.xtc("second.xtc", bench.positions[:, :-3])
    return bench.recipe({"coordinates": ["good.xtc", "second.xtc"]})


def an_empty_folder(bench):
    (bench.folder / "states").mkdir()
    return bench.recipe({"coordinates": "states"})


def many_files(bench):
    for k in range(12):
        bench.bytes(b"x", f"many/m_{k}.xtc")
    return bench.recipe({"coordinates": "many/*.xtc"})


def unclear(bench):
    return 3.3 * bench.positions / 10


NOT_FLOAT = "only floats"
WHOLE = "a complete NPY file"

CASES = {
    "topology/trajectory atom mismatch": (
        other_topology, "do not belong together", "short.pdb", "179 atoms in the topology, 180", "the same atoms",
        "the topology that",
    ),
    "truncated last frame": (
        ended("t.xtc", lambda raw: raw[:-100]), "cut short", "t.xtc", "9 complete frames and", "whole frames", "{stop: 9}",
    ),
    "truncated last frame of a DCD": (
        ended("t.dcd", lambda raw: raw[:-100]), "cut short", "t.dcd", "9 complete frames and", "whole frames", "{stop: 9}",
    ),
    "not one whole frame": (
        ended("t.xtc", lambda raw: raw[:300]), "holds no complete frame", "t.xtc", "0 frames", "at least one", "copy it again",
    ),
    "a cut header": (ended("t.dcd", lambda raw: raw[:50]), "as DCD", "t.dcd", "", "a complete DCD", "copied whole"),
    "shorter than `frames:`": (frames(start=200), "choice of frames is empty", FRAMES, "start 200", "0…9", "correct"),
    "frames that are not there": (keys(frames=[1, 200]), "are not there", FRAMES, "200", "0…9", "correct the list"),
    "frames listed twice": (keys(frames=[1, 3, 1]), "listed twice", FRAMES, "1", "each frame once", "remove"),
    "more random frames than there are": (keys(frames={"random": 50}), "not so many", FRAMES, "50", "at most 10", "random: 10"),
    "more diverse frames than there are": (
        keys(frames={"diverse": 50}), "not so many", FRAMES, "50", "at most 10", "diverse: 10",
    ),
    "trailing garbage": (
        ended("t.xtc", lambda raw: raw + b"garbage at the end, not a frame"),
        "goes on with something else", "t.xtc", "10 complete frames and 31 bytes", "whole frames", "{stop: 10}",
    ),
    "bit flips with a given `sha256:`": (
        digest, "not the one that was meant", "ensemble.sha256.good.xtc: ", "", "", "copy the file again",
    ),
    "`sha256:` of no file": (
        keys(sha256={"gone.xtc": "00"}), "no file of this name", "ensemble.sha256.gone.xtc", "gone.xtc", "good.pdb, good.xtc",
        "without folders",
    ),
    "NaN in the first frame": (first_frame(put(np.nan)), "frame 0", COORDINATES, "not finite", "finite positions", "copy"),
    "inf in the first frame": (first_frame(put(np.inf)), "frame 0", COORDINATES, "not finite", "finite positions", "copy"),
    "all-zero first frame": (first_frame(put(0.0)), "frame 0", COORDINATES, "exactly 0, 0, 0", "finite positions", "copy"),
    "constant first frame": (first_frame(put(7.0)), "frame 0", COORDINATES, "at one point", "finite positions", "copy"),
    "first frame out of range": (first_frame(put(3e7)), "frame 0", COORDINATES, "from the origin", "finite positions", "copy"),
    "changing atom count among files": (
        other_atoms, "different atoms", COORDINATES, "good.xtc: 180 atoms, second.xtc: 177", "the same atoms", "leave out",
    ),
    "whole asked as a word it has not": (
        keys(whole="always"), "`ensemble.whole`", "recipe.yaml", "always", "`auto`", "`whole: auto`",
    ),
    "slice empty": (frames(start=5, stop=5), "choice of frames is empty", FRAMES, "start 5, stop 5", "0…9", "correct"),
    "an empty list": (frames(), "choice of frames is empty", FRAMES, "an empty list", "0…9", "correct"),
    "step 0": (frames(step=0), "`ensemble.frames.step`", "recipe.yaml", "0", "at least 1", "`step: 1`"),
    "glob with no match": (
        keys(coordinates="run_*.xtc"), "no file has such a name", "run_*.xtc", "0 files", "at least one", "good.xtc",
    ),
    "a folder without structures": (an_empty_folder, "holds no structures", "states", "empty", ".pdb", "name the trajectory"),
    "object arrays": (
        array(lambda b: np.array([{"x": 1}], dtype=object)), "as NPY", "a.npy", "object", WHOLE, "copied whole",
    ),
    "wrong shape": (
        array(lambda b: b.positions.reshape(10, -1)), "as NPY", "a.npy", "(10, 540)", WHOLE, "extension",
    ),
    "wrong number of atoms": (
        array(lambda b: b.positions[:, 1:]), "do not belong together", "a.npy", "179 in the trajectory", "the same atoms",
        "topology",
    ),
    "wrong dtype": (array(lambda b: b.positions.astype(int)), "as NPY", "a.npy", NOT_FLOAT, WHOLE, "extension"),
    "complex dtype": (array(lambda b: b.positions.astype(complex)), "as NPY", "a.npy", NOT_FLOAT, WHOLE, "extension"),
    "an archive without coordinates": (
        array(lambda b: {"weights": np.ones(10)}, "a.npz"), "as NPZ", "a.npz", "weights (10,)", "a complete NPZ", "extension",
    ),
    "units that are unclear": (
        array(unclear), "unit of the coordinates is unclear", "a.npy", "apart", "for nm", "`units: angstrom`",
    ),
    "wrong units": (
        array(lambda b: b.positions / 10, units="angstrom"), "too small", COORDINATES, "0.146", "1.5 Å", "`units`",
    ),
    "units of a format that has its own": (keys(units="nm"), "only arrays", "ensemble.units", "XTC", ".npy", "remove the key"),
    "handedness": (
        array(lambda b: b.positions * [-1, 1, 1], units="angstrom"), "mirror image", COORDINATES, "100%", "L-amino",
        "turn one axis",
    ),
    "extension that lies: XTC as .dcd": (lies("a.dcd"), "as DCD", "a.dcd", "", "a complete DCD", "extension"),
    "extension that lies: XTC as .trr": (lies("a.trr"), "as TRR", "a.trr", "", "a complete TRR", "extension"),
    "extension that lies: PDB as .xtc": (ended_as("good.pdb", "a.xtc"), "as XTC", "a.xtc", "", "a complete XTC", "extension"),
    "extension that lies: PDB as .npz": (ended_as("good.pdb", "a.npz"), "as NPZ", "a.npz", "", "a complete NPZ", "extension"),
    "an unknown extension": (lies("a.xyz"), "not read here", "a.xyz", ".xyz", ".xtc", "convert it"),
    "positions without a topology": (
        keys(topology=None), "nothing says what the atoms are", "ensemble.topology", "good.xtc", "a topology file", "`topology:`",
    ),
    "too few atoms to superpose": (
        keys(align={"select": "name CA and resid 1"}), "too few atoms", "ensemble.align.select", "1 within", "at least 3",
        "`align: null`",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_refused_before_anything_is_created(refused, case):
    refused(*case)


def test_a_million_single_files(refused, monkeypatch):
    from cryovox.tasks.ensemble import listing

    monkeypatch.setattr(listing, "MOST", 10)
    refused(many_files, "too many files", COORDINATES, "11 or more", "at most 10", "multi-model file or trajectory")


def test_an_object_array_is_never_unpickled(refused, bench, tmp_path):
    class Trap:
        def __reduce__(self):
            return (type(tmp_path).touch, (tmp_path / "sprung",))

    def make(bench):
        np.save(bench.folder / "a.npy", np.array([Trap()], dtype=object), allow_pickle=True)
        return bench.recipe({"coordinates": "a.npy"})

    refused(make, "as NPY", "a.npy", "object", WHOLE, "")


@pytest.fixture
def opened(bench, command):
    """The ensemble of a recipe that is not refused."""
    from cryovox.pipeline.documents.recipe import load_recipe
    from cryovox.workflows.kinds import open_ensemble

    def of(recipe):
        loaded = load_recipe(recipe)
        return open_ensemble(loaded.recipe, loaded.folder)

    return of


def found(command, *arguments):
    code, text, errors = command("inspect", *arguments)
    assert code == 0, errors
    return text


def test_duplicate_times_are_a_warning(bench, command):
    times = [0, 1, 2, 3, 3, 4, 5, 6, 7, 8]
    recipe = bench.recipe({"coordinates": bench.xtc("t.xtc", times=times), "align": {"select": "name CA"}})
    text = found(command, recipe)
    assert "at the time of the frame before" in text


def test_backward_times_are_a_warning(bench, command):
    recipe = bench.recipe({"coordinates": bench.xtc("t.xtc", times=[0, 1, 2, 3, 1, 2, 3, 4, 5, 6])})
    assert "time runs backwards (frame 3 to 4" in found(command, recipe)


def test_a_changing_box_is_a_note(bench, command):
    edges = [90.0 * (1 + k / 50) for k in range(10)]
    recipe = bench.recipe({"coordinates": bench.xtc("t.xtc", boxes=edges)})
    assert "the box changes by 18%" in found(command, recipe)


def test_the_same_file_twice_is_a_warning(bench, opened):
    notes = opened(bench.recipe({"coordinates": ["good.xtc", "good.xtc"]})).notes
    assert any("good.xtc is named 2 times" in note for note in notes)


def test_natural_order_2_before_10(bench, opened):
    for k in (10, 2, 1):
        bench.pdb(f"states/x_{k}.pdb")
    assert opened(bench.alone("states/*.pdb")).frame_files == ("x_1.pdb", "x_2.pdb", "x_10.pdb")


def test_stale_offset_caches_are_ignored(bench, opened):
    """MDAnalysis would believe such a file beside the trajectory."""
    cache = bench.folder / ".good.xtc_offsets.npz"
    np.savez(cache, offsets=np.array([7, 9]), size=1, ctime=1.0, n_atoms=3)
    recipe = bench.recipe()
    before = bench.listing()
    assert opened(recipe).n_frames == 10
    assert bench.listing() == before


def test_whole_without_a_box_or_bonds_takes_lengths_for_bonds(bench, opened):
    """`auto` has nothing to put together there; what is torn later is found all the same (test_bad_frames)."""
    tree = opened(bench.recipe()).placement.tree
    assert tree is not None
    assert tree.bonds > 150


def test_frames_beyond_the_end_are_left_out_as_in_python(bench, opened):
    assert opened(bench.recipe({"frames": {"stop": 500, "step": 4}})).source_frames.tolist() == [0, 4, 8]
