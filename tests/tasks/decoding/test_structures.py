"""Structure files as frames: models found by their bytes, read by their columns, and all of the same atoms."""

import gzip
import time
import tracemalloc

import gemmi
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from MDAnalysisTests import datafiles

from cryovox.tasks.decoding import decoder, pdb, texts
from cryovox.tasks.decoding.formats import open_frames
from cryovox.tasks.decoding.pdb_lines import fixed, numbers

LINE = "ATOM  {:>5} {:<4}{}{:<3} {}{:>4}{}   {:8.3f}{:8.3f}{:8.3f}  1.00 10.00          {:>2}"
NAMES = (" N  ", " CA ", " C  ", " O  ")


def atoms(shift=0.0, n=4, chain="A", element=None, altloc=" ", icode=" ") -> list[str]:
    return [
        LINE.format(
            i + 1, NAMES[i % 4], altloc, "GLY", chain, i // 4 + 1, icode, i + shift, -i, 2.5 * i, element or NAMES[i % 4][1]
        )
        for i in range(n)
    ]


def index_of(path, format="pdb", n_atoms=None):
    return decoder.index({"path": str(path), "format": format, "n_atoms": n_atoms, "where": "ensemble.coordinates"}, {})


def reason(path, frame, format="pdb", n_atoms=4, offsets=None, **head) -> str:
    """Why a frame cannot be read."""
    request = {"path": str(path), "format": format, "n_atoms": n_atoms, **head}
    arrays = {"frames": np.array([frame]), "selection": np.arange(n_atoms)}
    if offsets is not None:
        arrays["offsets"] = np.array([offsets[frame]])
    answer = decoder.read(request, arrays)
    return answer.head["reason"]


def model(number, lines, end="ENDMDL") -> list[str]:
    return [f"MODEL     {number:>4}", *lines, *([end] if end else [])]


LAYOUTS = {
    "numbered from 0, no END (AlphaFlow)": [x for i in range(3) for x in model(i, atoms(i))],
    "numbered from 17, END": [*[x for i in range(3) for x in model(17 + i, atoms(i))], "END"],
    "all of the same number": [x for i in range(3) for x in model(1, atoms(i))],
    "no ENDMDL": [x for i in range(3) for x in model(i + 1, atoms(i), end="")],
    "END after each, no MODEL (VMD)": [x for i in range(3) for x in ["CRYST1    0.000", *atoms(i), "END"]],
    "with TER, ANISOU and CONECT": [
        "HEADER    A PROTEIN",
        *[x for i in range(3) for x in model(i + 1, [y for a in atoms(i) for y in (a, "ANISOU" + a[6:])] + ["TER"])],
        "CONECT    1    2",
        "END",
    ],
}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_models_are_found_however_they_are_marked(tmp_path, layout, newline):
    path = tmp_path / "m.pdb"
    path.write_bytes(newline.join([*LAYOUTS[layout], ""]).encode())
    with open_frames(str(path), "pdb", None) as file:
        index = file.index()
        assert (index.n_frames, index.trailing, file.n_atoms) == (3, 0, 4)
        for i in (2, 0, 1):
            want = [[j + i, -j, 2.5 * j] for j in range(4)]
            np.testing.assert_array_equal(file.read(i, int(index.offsets[i])).positions, np.array(want, np.float32))
            np.testing.assert_array_equal(file.read(i, -1).positions, np.array(want, np.float32))


def test_a_lone_structure_is_one_frame_with_or_without_end(tmp_path):
    for end in (["END"], [], ["TER", "END"]):
        path = tmp_path / "one.ent"
        path.write_text("\n".join([*atoms(), *end]))
        with open_frames(str(path), "pdb", None) as file:
            assert (file.index().n_frames, file.n_atoms) == (1, 4)


def test_the_last_model_is_cut_where_it_has_too_few_atoms_and_no_end(tmp_path):
    whole = "\n".join(["NUMMDL    3", *[x for i in range(3) for x in model(i, atoms(i))]])
    path = tmp_path / "cut.pdb"
    for lost in (200, 100, 30):
        path.write_text(whole[: -lost - len("\nENDMDL")])
        answer = index_of(path)
        start = whole.index("MODEL        2")
        assert answer.head["n_frames"] == 2
        assert answer.head["promised"] == 3
        assert answer.head["trailing"] == len(path.read_text()) - start


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (atoms(1, n=3), "it has 3 atoms, the file's first model 4; it lacks O (O) of GLY A 1"),
        ([], "the model holds no atoms"),
        (atoms(1, chain="B"), "its atom 1 is N (N) of GLY B 1, in the file's first model it is N (N) of GLY A 1"),
        (atoms(1, altloc="B"), "its atom 1 is N.B (N) of GLY A 1"),
        (atoms(1, icode="C"), "its atom 1 is N (N) of GLY A 1C"),
        (atoms(1, element="S"), "its atom 1 is N (S) of GLY A 1"),
        (
            [atoms(1)[i] for i in (0, 2, 1, 3)],
            "its atom 2 is C (C) of GLY A 1, in the file's first model it is CA (C) of GLY A 1",
        ),
    ],
)
def test_a_model_of_other_atoms_is_a_bad_frame_that_names_the_first(tmp_path, other, said):
    path = tmp_path / "m.pdb"
    path.write_text("\n".join([*model(1, atoms()), *model(2, other), *model(3, atoms(3))]))
    answer = index_of(path)
    assert answer.head["n_frames"] == 3
    assert said in reason(path, 1, offsets=answer.arrays["offsets"])


def test_blanks_and_case_make_no_other_atom(tmp_path):
    path = tmp_path / "m.pdb"
    shifted = [line.replace(" CA ", "CA  ").replace(" C\n", " c\n") for line in atoms(1)]
    path.write_text("\n".join([*model(1, atoms()), *model(2, shifted)]))
    with open_frames(str(path), "pdb", None) as file:
        assert file.read(1, -1).positions[0, 0] == 1


@pytest.mark.parametrize("bad", ["********", "     nan", "     inf", "        ", "  1.2.3 ", "   abc  ", "   1_000"])
@pytest.mark.parametrize("where", [0, 1])
def test_a_coordinate_that_is_no_number_is_a_bad_frame_that_names_its_line(tmp_path, bad, where):
    lines = [atoms(), atoms(1)]
    lines[where][2] = lines[where][2][:38] + bad + lines[where][2][46:]
    path = tmp_path / "m.pdb"
    path.write_text("\n".join(["HEADER", "", *model(1, lines[0]), *model(2, lines[1])]))
    offsets = index_of(path).arrays["offsets"]
    said = reason(path, where, offsets=offsets)
    assert said.startswith(f"line {2 + 6 * where + 1 + 3}: ")
    assert said.endswith("coordinates of 1 atoms that are no numbers")
    assert reason(path, where) == said


@given(st.lists(st.integers(-999_999, 9_999_999), min_size=1, max_size=20))
def test_fixed_columns_are_read_as_float_reads_them(values):
    words = [f"{value / 1000:8.3f}" for value in values]
    found, good = fixed(np.frombuffer("".join(words).encode(), np.uint8).reshape(-1, 8), 3)
    assert good.all()
    np.testing.assert_array_equal(found, [float(word) for word in words])


def test_other_plain_numbers_are_read_too_and_nothing_else():
    words = [b"1.5     ", b"12      ", b"  +0.250", b"   -.125", b"- 1.000 ", b"1 2.000 ", b"        ", b"    1e5 ", b" .      "]
    found, good = numbers(np.frombuffer(b"".join(words), np.uint8).reshape(-1, 8), 3)
    np.testing.assert_array_equal(good, [True] * 4 + [False] * 5)
    np.testing.assert_array_equal(found[:4], [1.5, 12, 0.25, -0.125])


def test_all_atoms_are_as_gemmi_reads_them():
    structure = gemmi.read_pdb(datafiles.PDB_multiframe)
    with open_frames(datafiles.PDB_multiframe, "pdb", None) as file:
        words = file.atoms()
        for i, cra in enumerate(structure[0].all()):
            assert words.name[i].decode() == cra.atom.name
            assert words.residue[i].decode() == cra.residue.name
            assert int(words.number[i]) == cra.residue.seqid.num
            assert words.element[i].decode() == cra.atom.element.name.upper()
        want = np.array([cra.atom.pos.tolist() for cra in structure[13].all()])
        np.testing.assert_array_equal(file.read(13, -1).positions, want.astype(np.float32))


def test_a_file_of_many_models_is_scanned_once_and_never_held(tmp_path):
    path = tmp_path / "many.pdb"
    n_models, n_atoms = 300, 1000
    lines = "\n".join(atoms(n=n_atoms))
    path.write_text("".join(f"MODEL     {i:>4}\n{lines}\nENDMDL\n" for i in range(n_models)))
    tracemalloc.start()
    answer = index_of(path)
    assert tracemalloc.get_traced_memory()[1] < 150e6 < 8 * path.stat().st_size
    tracemalloc.stop()
    assert answer.head["n_frames"] == n_models
    frames = np.random.default_rng(0).permutation(n_models)
    begin = time.process_time()
    request = {"path": str(path), "format": "pdb", "n_atoms": n_atoms}
    for part in np.split(frames, 10):
        arrays = {"frames": part, "offsets": answer.arrays["offsets"][part], "selection": np.array([999])}
        np.testing.assert_array_equal(decoder.read(request, arrays).arrays["positions"][:, 0, 0], 999)
    assert time.process_time() - begin < 10


def cif(models=((1, 0.0),), swap=None, **columns) -> str:
    """An `_atom_site` loop of four atoms a model; `columns`: a tag and its words, one for each row."""
    tags = ["group_PDB", "id", "type_symbol", "label_atom_id", "label_alt_id", "label_comp_id", "label_asym_id", "label_seq_id"]
    tags += ["auth_seq_id", "auth_asym_id", "Cartn_x", "Cartn_y", "Cartn_z", "occupancy", "B_iso_or_equiv", "pdbx_PDB_model_num"]
    rows = []
    for number, shift in models:
        for i, name in enumerate(("N", "CA", "C", "O")):
            rows.append(["ATOM", i + 1, name[0], name, ".", "GLY", "A", 1, 1, "A", i + shift, -i, 2.5 * i, "1.0", "10.0", number])
    for tag, words in columns.items():
        for row, word in zip(rows, words, strict=False):
            row[tags.index(tag)] = word
    if swap:
        rows[swap[0]], rows[swap[1]] = rows[swap[1]], rows[swap[0]]
    head = "\n".join(f"_atom_site.{tag}" for tag in tags)
    return f"data_x\n#\nloop_\n{head}\n" + "\n".join(" ".join(map(str, row)) for row in rows) + "\n#\n"


def test_models_of_an_mmcif_are_frames_whatever_their_numbers_and_order(tmp_path):
    path = tmp_path / "m.cif"
    path.write_text(cif([(7, 0.0), (3, 1.0), (9, 2.0)], swap=(3, 4)))
    with open_frames(str(path), "mmcif", None) as file:
        assert (file.index().n_frames, file.n_atoms) == (3, 4)
        np.testing.assert_array_equal(file.read(1, -1).positions[:, 0], [1, 2, 3, 4])
    path.write_text(cif([(1, 0.0), (2, 0.0)], swap=(5, 6)))
    assert "its atom 2 is C (C) of GLY A 1, in the file's first model it is CA (C)" in reason(path, 1, "mmcif")


@pytest.mark.parametrize("bad", ["?", ".", "inf", "nan", "abc"])
def test_a_coordinate_of_an_mmcif_that_is_no_number_is_a_bad_frame_that_names_its_line(tmp_path, bad):
    path = tmp_path / "m.cif"
    text = cif([(1, 0.0), (2, 0.0)], Cartn_y=["0"] * 5 + [bad])
    path.write_text(text)
    line = next(i for i, row in enumerate(text.split("\n"), 1) if f" {bad} 2.5 " in row)
    assert reason(path, 1, "mmcif") == f"line {line}: CA 1.0 {bad} 2.5: coordinates that are no numbers"
    with open_frames(str(path), "mmcif", None) as file:
        assert file.read(0, -1).positions.shape == (4, 3)


@pytest.mark.parametrize("format", ["pdb", "mmcif"])
def test_one_of_many_files_must_hold_one_model(tmp_path, format):
    path = tmp_path / "m"
    path.write_text("\n".join(model(1, atoms()) + model(2, atoms())) if format == "pdb" else cif([(1, 0.0), (2, 0.0)]))
    said = reason(path, 0, format, single=True)
    assert said == "the file holds 2 models, where each file is one frame"


@pytest.mark.parametrize("format", ["pdb", "mmcif"])
def test_a_file_of_other_atoms_than_the_topologys_is_a_bad_frame_that_names_the_first(tmp_path, format):
    topology, same, other = (tmp_path / name for name in ("topology", "same", "other"))
    topology.write_text("\n".join(atoms()) if format == "pdb" else cif())
    same.write_text("\n".join(atoms(5)) if format == "pdb" else cif([(1, 5.0)]))
    other.write_text("\n".join(atoms(chain="B")) if format == "pdb" else cif(auth_asym_id="BBBB"))
    identity = {"digest": index_of(topology, format).head["identity"], "path": str(topology), "format": format}
    said = reason(other, 0, format, identity=identity)
    assert said == "its atom 1 is N (N) of GLY B 1, in topology it is N (N) of GLY A 1"
    request = {"path": str(same), "format": format, "n_atoms": 4, "identity": identity, "single": True}
    answer = decoder.read(request, {"frames": np.array([0]), "selection": np.arange(4)})
    assert answer.arrays["positions"][0, 0, 0] == 5


def test_the_same_atoms_have_one_identity_in_both_formats(tmp_path):
    (tmp_path / "a.pdb").write_text("\n".join(atoms()))
    (tmp_path / "a.cif").write_text(cif())
    assert index_of(tmp_path / "a.pdb").head["identity"] == index_of(tmp_path / "a.cif", "mmcif").head["identity"]


@pytest.mark.parametrize("format", ["pdb", "mmcif"])
def test_gzip_is_the_same_text_or_a_problem(tmp_path, format, monkeypatch):
    text = "\n".join(model(1, atoms()) + model(2, atoms(1))) if format == "pdb" else cif([(1, 0.0), (2, 1.0)])
    plain, zipped = tmp_path / "a", tmp_path / "a.gz"
    plain.write_text(text)
    zipped.write_bytes(gzip.compress(text.encode()))
    with open_frames(str(plain), format, None) as one, open_frames(str(zipped), format, None) as two:
        assert one.index().n_frames == two.index().n_frames == 2
        np.testing.assert_array_equal(one.read(1, -1).positions, two.read(1, -1).positions)
    broken = tmp_path / "broken.gz"
    for raw in (zipped.read_bytes()[:-20], b"\x1f\x8b" + bytes(50), text.encode()):
        broken.write_bytes(raw)
        assert "the gzip file is broken" in index_of(broken, format).head["problem"]["got"]
    bomb = tmp_path / "bomb.gz"
    bomb.write_bytes(gzip.compress(b" " * (1 << 22)))
    monkeypatch.setattr(texts, "LARGEST", 1 << 20)
    assert "too large: more than 1048576 bytes" in index_of(bomb, format).head["problem"]["got"]


def test_a_model_without_end_in_sight_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "large.pdb"
    path.write_text("\n".join(atoms(n=200)))
    monkeypatch.setattr(pdb, "LARGEST", 1000)
    assert "the model is too large" in index_of(path).head["problem"]["got"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data_x\nloop_\n_atom_site.id\n_atom_site.Cartn_x\n1 2\n3\n", "Wrong number of values in loop"),
        ("data_x\n_cell.length_a 1\n", "it holds no atoms"),
        ("", "it holds no atoms"),
        ("ATOM  no CIF", "no complete CIF"),
    ],
)
def test_an_mmcif_that_is_none_is_a_problem(tmp_path, text, said):
    path = tmp_path / "m.cif"
    path.write_text(text)
    assert said in index_of(path, "mmcif").head["problem"]["got"]


def test_a_file_that_changes_is_read_anew(tmp_path):
    for format, write in (("pdb", lambda x: "\n".join(atoms(x))), ("mmcif", lambda x: cif([(1, x)]))):
        path = tmp_path / f"a.{format}"
        for shift in (1.0, 22.0):
            path.write_text(write(shift))
            with open_frames(str(path), format, None) as file:
                assert file.read(0, -1).positions[0, 0] == shift


def test_real_multi_model_files_agree_across_formats(tmp_path):
    structure = gemmi.read_pdb(datafiles.PDB_multiframe)
    path = tmp_path / "nmr.cif"
    structure.make_mmcif_document().write_file(str(path))
    with open_frames(str(path), "mmcif", None) as one, open_frames(datafiles.PDB_multiframe, "pdb", None) as two:
        assert one.index().n_frames == two.index().n_frames == 24
        assert one.n_atoms == two.n_atoms
        for i in (0, 23):
            np.testing.assert_array_equal(one.read(i, -1).positions, two.read(i, -1).positions)
