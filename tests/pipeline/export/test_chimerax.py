"""The ChimeraX script opens what is there, as many as there are, at a level that has a contour.

The grammar is that of ChimeraX's command pages; ChimeraX itself is no package and cannot be asked here.
"""

import re
import shlex
from dataclasses import replace

import mrcfile
import numpy as np
import pytest

from cryovox.pipeline.export.chimerax import Series, quoted, series_script

OPTIONS = {
    "open": {"vseries", "structureModel"},
    "volume": {"style", "step", "level", "color", "show", "region", "origin", "originIndex", "transparency"},
    "volume morph": {"frames", "playStep"},
    "vseries play": {"loop", "direction", "pauseFrames", "jumpTo"},
    "vseries stop": set(),
    "perframe": {"range", "format", "interval"},
    "coordset": set(),
    "alias": set(),
    "~perframe": set(),
    "view": set(),
}
"""Keywords of each command that the script uses, from the pages named in chimerax.py."""
SERIES = Series("a.zarr", "volumes/frame_*.mrc", 4, False, (6, 8, 10), (-3, -4, -5), True, 0.25, 1.5)


def commands(text: str) -> list[str]:
    """Also those inside `perframe` and `alias`, without their quotes."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    nested = [word for line in lines if line.startswith(("perframe", "alias")) for word in shlex.split(line) if " " in word]
    return [*lines, *(one for text in nested for one in text.split("; "))]


VARIANTS = {
    "series": SERIES,
    "one": replace(SERIES, n_volumes=1, files="volumes/frame_000003.mrc"),
    "stack": replace(SERIES, stack=True, files="volumes.mrc"),
    "atoms": replace(SERIES, structure="../a b.pdb", trajectory="../a b.dcd"),
    "stack with atoms, at zero": replace(
        SERIES, stack=True, files="volumes.mrc", structure="a.pdb", trajectory="a.dcd", on_atoms=False
    ),
    "no contour": replace(SERIES, level=None),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_word_is_one_of_the_command_pages(name):
    for command in commands(series_script(VARIANTS[name])):
        words = shlex.split(command)
        known = next(known for known in (" ".join(words[:2]), words[0]) if known in OPTIONS)
        if known == "alias":
            assert re.fullmatch("cryovox_[a-z]+", words[1])
            continue
        for word in words[len(known.split()) :]:
            value = re.fullmatch(r"#[0-9a-f]+|[-$0-9.,e+]+|true|surface|oscillate|%d|.*\.(mrc|pdb|dcd)|.* .*", word)
            assert value or word in OPTIONS[known], (command, word)


@pytest.fixture(scope="module", params=[(), ("--stack",), ("--frames", "4")], ids=["files", "stack", "one"])
def exported(request, tmp_path_factory, tiny, inside):
    folder = tmp_path_factory.mktemp("script")
    done = inside("export", tiny.path, "--to", "out", *request.param, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "out"


def test_what_it_opens_is_there_in_the_order_of_the_table(exported):
    lines = commands((exported / "series.cxc").read_text())
    (pattern,) = [shlex.split(line)[1] for line in lines if line.startswith("open")]
    opened = sorted(str(file.relative_to(exported)) for file in exported.glob(pattern))
    rows = [line.split(",")[0] for line in (exported / "frames.csv").read_text().splitlines()[1:]]
    assert opened == sorted(set(rows))
    assert opened == list(dict.fromkeys(rows))
    assert any("vseries true" in line for line in lines) == (len(opened) > 1)


def test_the_level_has_a_contour_in_the_first_volume(exported):
    text = (exported / "series.cxc").read_text()
    (level,) = re.findall(r" level (\S+)", text)
    (first,) = sorted(exported.rglob("*.mrc"))[:1]
    with mrcfile.open(first) as file:
        voxels = file.data[0] if file.is_volume_stack() else file.data
        assert voxels.min() < float(level) < voxels.max()
        assert float(level) == pytest.approx(voxels.mean(dtype=float) + 3 * voxels.std(dtype=float), rel=1e-5)


def test_a_stack_is_walked_through_volume_by_volume():
    (walk,) = [line for line in series_script(VARIANTS["stack"]).splitlines() if line.startswith("perframe")]
    ranges = [list(map(int, span.split(","))) for span in re.findall(r"range (\S+)", walk)]
    assert [list(range(a, b + 1, step)) for a, b, step in ranges] == [[0, 6, 12, 18], [5, 11, 17, 23], [3, 9, 15, 21]]
    assert "region 0,0,$1,9,7,$2 originIndex 5,4,$3" in walk
    # at zero and without atoms the first voxel stays at 0
    (walk,) = [
        line for line in series_script(replace(VARIANTS["stack"], on_atoms=False)).splitlines() if line.startswith("perframe")
    ]
    assert "originIndex 0,0,$3" in walk
    assert "range 0,18,6 range 5,23,6 range 0,18,6" in walk


def test_atoms_are_opened_from_the_scripts_folder_and_maps_lie_on_them():
    lines = series_script(VARIANTS["atoms"]).splitlines()
    assert 'open "../a b.pdb"' in lines
    assert 'open "../a b.dcd" structureModel #2' in lines
    assert not any("origin" in line for line in lines)
    assert "volume #1 origin -7.5,-6,-4.5" in series_script(replace(VARIANTS["atoms"], on_atoms=False)).splitlines()
    assert any('"vseries play #1 jumpTo $1; coordset #2 $2" range 0,3,1 range 1,4,1' in line for line in lines)
    assert "originIndex 5,4,3 " in series_script(VARIANTS["stack with atoms, at zero"])


def test_with_both_the_scripts_atoms_are_the_written_ones(tmp_path, draw, inside):
    made = draw(tmp_path / "adk.zarr", "auto", 5.0)
    (tmp_path / "atoms here").mkdir()
    done = inside("export", made.path, "--to", "out", "--trajectory", "atoms here/a.dcd", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = commands((tmp_path / "out" / "series.cxc").read_text())
    opened = [shlex.split(line)[1] for line in lines if line.startswith("open")]
    assert opened == ["volumes/frame_*.mrc", "../atoms here/a.pdb", "../atoms here/a.dcd"]
    for path in opened[1:]:
        assert (tmp_path / "out" / path).is_file()


@pytest.mark.parametrize(("path", "expected"), [("a b;c.pdb", '"a b;c.pdb"'), ('a".pdb', "'a\".pdb'"), ("ä'.pdb", '"ä\'.pdb"')])
def test_a_path_is_quoted_whatever_it_holds(path, expected):
    assert quoted(path) == expected


@pytest.mark.parametrize("path", ["a\nopen b.py", "'\".pdb", "a\\b.pdb"])
def test_a_path_that_no_quotes_hold_is_an_error(path):
    with pytest.raises(ValueError, match="no ChimeraX command"):
        quoted(path)


def test_a_stores_name_cannot_end_its_comment():
    first = series_script(replace(SERIES, name="a\nopen evil.py")).splitlines()[0]
    assert first.startswith("#")
    assert "open evil" in first


def test_a_volume_without_contrast_gives_no_level(tmp_path, tiny, inside):
    done = inside("export", tiny.path, "--to", "out", "--region", ":,0:1,:", "--frames", "0", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with mrcfile.open(tmp_path / "out" / "volumes" / "frame_000000.mrc") as file:
        flat = np.ptp(file.data) == 0
    assert (" level " in (tmp_path / "out" / "series.cxc").read_text()) != flat
