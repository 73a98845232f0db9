"""Structures: what a PDB or mmCIF file can hold that no volume should be made of, each refused before anything is created."""

import gzip
import io
import os

import numpy as np
import pytest

NO_ATOMS = "HEADER    NOTHING\nEND\n"
COORDINATES = "ensemble.coordinates"
TOPOLOGY = "ensemble.topology"


def structure(text, name="s.pdb"):
    """A recipe of one structure file with this text."""

    def make(bench):
        bench.bytes(text if isinstance(text, bytes) else text.encode(), name)
        return bench.alone(name)

    return make


def changed(change, name="s.pdb", models=1, keys=None, **sections):
    """A recipe of the atoms, each line changed."""

    def make(bench):
        keep = {"topology": None, "coordinates": bench.pdb(name, change, models), **(keys or {})}
        return bench.recipe(keep, **sections)

    return make


def at(place, text, only=None):
    """Puts text at a column, counted from 0, of the lines that are meant."""
    return lambda i, line: line if only is not None and i != only else line[:place] + text + line[place + len(text) :]


def named(i, line, name, element, residue="MET"):
    """Atom 3 under another name."""
    return line if i != 3 else f"{line[:12]}{name}{line[16]}{residue}{line[20:76]}{element}{line[78:]}"


def cif(column, word, only=5):
    def make(bench):
        return bench.alone(bench.cif("s.cif", lambda i, row: [*row[:column], word, *row[column + 1 :]] if i == only else row))

    return make


def two_places(occupancies, keys):
    """Atom 5 at two places, far from each other."""

    def change(i, line):
        if i != 5:
            return line
        a, b = (f"{line[:16]}{x}{line[17:54]}{o:6.2f}{line[60:]}" for x, o in zip("AB", occupancies, strict=True))
        return f"{a}\n{b[:30]}{float(b[30:38]) + 0.9:8.3f}{b[38:]}"

    return changed(change, keys=keys)


def cut_cif(bench):
    path = bench.folder / bench.cif("s.cif")
    text = path.read_text()
    path.write_text(text[: len(text) // 2].rsplit(" ", 1)[0])
    return bench.alone("s.cif")


def gone(key):
    return lambda bench: bench.recipe({key: "gone.pdb"})


def a_folder(bench):
    (bench.folder / "structure.pdb").mkdir()
    return bench.recipe({"topology": "structure.pdb"})


def a_pipe(bench):
    os.mkfifo(bench.folder / "pipe.pdb")
    return bench.recipe({"topology": "pipe.pdb"})


def a_loop_of_links(bench):
    (bench.folder / "loop.pdb").symlink_to("loop.pdb")
    return bench.recipe({"topology": "loop.pdb"})


def broken_gzip(bench):
    packed = gzip.compress((bench.folder / "good.pdb").read_bytes())
    return structure(packed[: len(packed) // 2], "s.pdb.gz")(bench)


def no_gzip(bench):
    return structure((bench.folder / "good.pdb").read_bytes(), "s.pdb.gz")(bench)


def on_top(bench):
    """Atom 7 stands where atom 6 stands."""
    return changed(lambda i, line: line[:30] + bench.lines[6][30:54] + line[54:] if i == 7 else line)(bench)


def several_models(bench):
    bench.pdb("states/a_1.pdb", models=3)
    bench.pdb("states/a_2.pdb")
    return bench.alone("states")


def other_atoms(bench):
    bench.pdb("states/a_1.pdb")
    bench.pdb("states/a_2.pdb", at(13, "CX ", only=4))
    return bench.alone("states")


def scaled(factor, keys=None):
    def line_of(i, line):
        xyz = "".join(f"{factor * float(line[a : a + 8]):8.3f}" for a in (30, 38, 46))
        return line[:30] + xyz + line[54:]

    return changed(line_of, keys=keys)


def small_box(bench):
    bench.command = "inspect"
    return bench.recipe(grid={"voxel_size": 3.0, "shape": [4, 4, 4]})


B_FROM_FILE = {"scattering": {"b_factor": {"policy": "file"}}}
BY_OCCUPANCY = {"occupancy": "file"}
SHOULD_BE = "finite positions"

CASES = {
    "missing": (gone("coordinates"), "there is no such file", f"{COORDINATES}: ", None, None, "good.pdb"),
    "missing topology": (gone("topology"), "there is no such file", f"{TOPOLOGY}: ", None, None, "good.pdb"),
    "directory": (a_folder, "this is a folder", f"{TOPOLOGY}: ", "a folder", "a file", "name the file inside it"),
    "a pipe": (a_pipe, "no ordinary file", f"{TOPOLOGY}: ", "a pipe", "a file", "copy it to a file"),
    "a link to itself": (a_loop_of_links, "leads to no file", f"{TOPOLOGY}: ", "a link to loop.pdb", "a file", "mend the link"),
    "empty": (structure(""), "the file is empty", f"{COORDINATES}: ", "0 bytes", "", "copy it again"),
    "0 atoms": (structure(NO_ATOMS), "cannot be read as PDB", "s.pdb", "it holds no atoms", "a complete PDB", "copied whole"),
    "0 atoms of mmCIF": (
        structure("data_x\n_cell.length_a 10\n", "s.cif"), "cannot be read as MMCIF", "s.cif", "no atoms", "a complete", "copied",
    ),
    "an HTML page named .pdb": (
        structure("<!DOCTYPE html>\n<html><body>404</body></html>\n"), "as PDB", "s.pdb", "a web page", "a complete PDB",
        "extension",
    ),
    "a page in place of mmCIF": (
        structure("<html>moved</html>", "s.cif"), "as MMCIF", "s.cif", "a web page", "a complete MMCIF", "extension",
    ),
    "only zeros": (structure(bytes(5000)), "as PDB", "s.pdb", "zeros", "a complete PDB", "copied whole"),
    "cut mmCIF loop": (cut_cif, "cannot be read as MMCIF", "s.cif", "no complete CIF", "a complete MMCIF", "copied whole"),
    "`?` coordinates": (cif(8, "?"), "frame 0", "s.cif", "line 24: CE ? ", SHOULD_BE, "copy the file again"),
    "inf coordinates": (cif(9, "inf"), "frame 0", "s.cif", " inf ", SHOULD_BE, "copy the file again"),
    "NaN coordinates": (changed(at(30, "     nan", 3)), "frame 0", "s.pdb", "line 4: ", SHOULD_BE, "copy"),
    "`*******` overflow": (changed(at(38, "********", 3)), "frame 0", "s.pdb", "********", SHOULD_BE, "copy"),
    "a line that breaks off": (
        changed(lambda i, line: line[:40] if i == 9 else line), "", "s.pdb", "line 10", "", "copied whole",
    ),
    "unknown element": (changed(lambda i, line: named(i, line, "XQ9 ", "Qq")), "element", "", "XQ9", "", "elements:"),
    "a name that says no element": (changed(lambda i, line: named(i, line, "XQ9 ", "  ")), "element", "", "XQ9", "", "elements:"),
    "occupancy outside 0-1": (
        changed(at(54, "  1.70", 3), keys=BY_OCCUPANCY), "occupancies are impossible", "ensemble.occupancy", "1.7", "0…1",
        "correct",
    ),
    "negative occupancy": (
        changed(at(54, " -0.50", 3), keys=BY_OCCUPANCY), "occupancies are impossible", "ensemble.occupancy", "-0.5", "0…1",
        "correct",
    ),
    "all occupancies 0": (
        changed(at(54, "  0.00"), keys=BY_OCCUPANCY), "all occupancies are 0", "ensemble.occupancy", "atoms", "not all 0", "one",
    ),
    "occupancy that is no number": (changed(at(54, "  abc ", 3)), "as PDB", "s.pdb", "line 4: abc: occupancy", "", "copied"),
    "altlocs summing > 1": (
        two_places((0.7, 0.6), {**BY_OCCUPANCY, "altloc": "all"}),
        "alternative places", "ensemble.occupancy", "1.3", "at most 1", "`altloc: highest`",
    ),
    "altloc policy unset": (
        two_places((0.7, 0.3), {}), "alternative places", "ensemble.altloc", "2 such places", "a rule", "highest",
    ),
    "all altlocs as whole atoms": (
        two_places((0.7, 0.3), {"altloc": "all"}), "", "ensemble.altloc", "`occupancy: one`", "`occupancy: file`",
        "`altloc: highest`",
    ),
    "B < 0": (
        changed(at(60, " -5.00", 3), **B_FROM_FILE), "B column", "b_factor.policy", "atom 3", "0 and 1000", "correct the file",
    ),
    "B > 1000": (changed(at(60, "1200.0", 3), **B_FROM_FILE), "B column", "b_factor.policy", "1200", "0 and 1000", "correct"),
    "B all 0": (changed(at(60, "  0.00"), **B_FROM_FILE), "B column", "b_factor.policy", "0 for every", "B-factors", "constant"),
    "B that is pLDDT": (
        lambda bench: changed(lambda i, line: f"{line[:60]}{80 + int(line[22:26]) % 15:6.2f}{line[66:]}", **B_FROM_FILE)(bench),
        "looks like pLDDT", "b_factor.policy", "80 to 94", "refined B-factors", "policy: plddt",
    ),
    "B that is no number": (changed(at(60, "  abc ", 3)), "as PDB", "s.pdb", "line 4: abc: B-factor", "", "copied whole"),
    "atoms on top of each other": (on_top, "on top of each other", COORDINATES, "atoms 6 and 7", "0.1 Å", "`select`"),
    "nm in a PDB file": (scaled(0.1), "the coordinates are too small", COORDINATES, "0.146 Å", "1.5 Å", "nm"),
    "Å ten times too large": (scaled(10.0), "the coordinates are too large", COORDINATES, "14.6 Å", "1.5 Å", "divide by 10"),
    "several models where one is meant": (several_models, "frame 0", "a_1.pdb", "3 models", SHOULD_BE, ""),
    "atoms outside the grid": (
        small_box, "smaller than the molecule", "grid.shape", "[4, 4, 4] voxels", "room for atoms at x", "`shape: auto`",
    ),
    "broken gzip": (broken_gzip, "as PDB", "s.pdb.gz", "the gzip file is broken", "a complete PDB", "copied whole"),
    "no gzip at all": (no_gzip, "as PDB", "s.pdb.gz", "the gzip file is broken", "a complete PDB", "copied whole"),
    "species not in the table": (
        changed(lambda i, line: named(i, line, "ES  ", "ES", "ES ")), "the table lacks an element", "scattering.table", "99",
        None, "`table: lobato2014`",
    ),
    "assembly asked but absent": (
        lambda bench: bench.alone(bench.cif("s.cif"), assembly="1"), "no such assembly", "s.cif", "1", "none", "remove the key",
    ),
    "an unknown point group": (
        lambda bench: bench.recipe({"symmetry": "Q5"}), "symmetry is unknown", "ensemble.symmetry", "Q5", "C4 or D2",
        "correct it",
    ),
    "nothing selected": (
        lambda bench: bench.recipe({"select": "resname XYZ"}), "selection is empty", "ensemble.select", "0 of", "",
        "residues here: ",
    ),
    "a selection of no words": (
        lambda bench: bench.recipe({"select": "nmae CA"}), "cannot be understood", "ensemble.select", "nmae CA", "MDAnalysis",
        "https",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_refused_before_anything_is_created(refused, case):
    refused(*case)


def test_unreadable(refused, bench, as_root):
    if as_root:
        pytest.skip("root may read every file")
    (bench.folder / "good.pdb").chmod(0)
    refused(lambda b: b.recipe(), "cannot be opened", f"{TOPOLOGY}: ", "Permission denied", "", "check its permissions")


@pytest.fixture
def indexed(lent):
    """What the decoder says of a file, in this process, where its limits can be made small."""
    from cryovox.tasks.decoding.decoder import index
    from cryovox.tasks.errors import Problem, Refusal

    def ask(path, format):
        where = f"{COORDINATES}: {path}"
        head = index({"do": "index", "path": str(path), "format": format, "n_atoms": None, "where": where}, {}).head
        return str(Refusal(Problem(**head["problem"])))

    return ask


@pytest.mark.parametrize(("name", "format"), [("s.cif", "mmcif"), ("s.cif.gz", "mmcif"), ("s.pdb", "pdb"), ("s.pdb.gz", "pdb")])
def test_too_large(bench, indexed, says, monkeypatch, name, format):
    from cryovox.tasks.decoding import pdb, texts

    for module in (texts, pdb):
        monkeypatch.setattr(module, "LARGEST", 5000)
    path = bench.folder / (bench.cif("s.cif") if format == "mmcif" else bench.pdb("s.pdb"))
    if name.endswith(".gz"):
        path = bench.bytes(gzip.compress(path.read_bytes()), name)
    says(indexed(path, format), f"as {format.upper()}", name, "too large: more than 5000 bytes", "", "copied whole")


def test_gzip_bomb(bench, indexed, says, monkeypatch):
    """256 MiB of blanks in 256 kB: no more of them is unpacked than a structure may have."""
    from cryovox.tasks.decoding import texts

    monkeypatch.setattr(texts, "LARGEST", 1 << 20)
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1) as file:
        for _ in range(64):
            file.write(b" " * (4 << 20))
    path = bench.bytes(packed.getvalue(), "bomb.pdb.gz")
    assert path.stat().st_size < 2 << 20
    says(indexed(path, "pdb"), "as PDB", "bomb.pdb.gz", "too large: more than 1048576 bytes", "", "")


@pytest.fixture
def opened(bench, lent, command):
    """The ensemble of a recipe that is not refused."""
    from cryovox.pipeline.documents.recipe import load_recipe
    from cryovox.workflows.kinds import open_ensemble

    def of(recipe):
        loaded = load_recipe(recipe)
        return open_ensemble(loaded.recipe, loaded.folder)

    return of


def test_hybrid_36_serials_accepted(bench, opened):
    """Beyond 99,999 atoms and 9,999 residues PDB files count on with letters."""

    def change(i, line):
        return f"{line[:6]}A{i:04}{line[11:22]}A{int(line[22:26]):03}{line[26:]}"

    plain, hybrid = opened(bench.alone("good.pdb")), opened(bench.alone(bench.pdb("h.pdb", change)))
    np.testing.assert_array_equal(hybrid.atomic_numbers, plain.atomic_numbers)
    np.testing.assert_array_equal(np.diff(hybrid.residues), np.diff(plain.residues))


def test_a_structure_of_other_atoms_is_a_bad_frame(bench, opened, says):
    from cryovox.tasks.errors import FrameFault
    from cryovox.workflows.extents import FindExtents

    loaded, ensemble = _loaded(other_atoms(bench)), opened(other_atoms(bench))
    with FindExtents(loaded.recipe, ensemble, np.arange(2), "x").open() as session, pytest.raises(FrameFault) as caught:
        session.do(0)
    says(str(caught.value), "frame 1", "a_2.pdb", "CX", SHOULD_BE, "on_bad_frame: skip")


def test_a_topology_of_several_models_is_taken_and_said(bench, opened):
    """Only who the atoms are is read of it."""
    ensemble = opened(bench.recipe({"topology": bench.pdb("many.pdb", models=3)}))
    assert any("3 models" in note for note in ensemble.notes)


def _loaded(recipe):
    from cryovox.pipeline.documents.recipe import load_recipe

    return load_recipe(recipe)
