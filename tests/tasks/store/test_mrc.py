"""Maps go out and come back whole, lie where they should in other programs, and bad files are refused before they cost memory."""

import bz2
import gzip
import itertools
import struct

import gemmi
import mrcfile
import numpy as np
import pytest

from cryovox.tasks.errors import Refusal
from cryovox.tasks.store.mrc import read_array_from_mrc, read_note, read_origin_from_mrc, write_array_to_mrc

VOXELS = np.random.default_rng(0).normal(size=(4, 6, 5)).astype(np.float32)
WORDS = {"nx": 0, "nz": 8, "mode": 12, "nxstart": 16, "nystart": 20, "nzstart": 24, "mx": 28, "mz": 36, "cella": 40, "alpha": 52,
         "mapc": 64, "ispg": 88, "nsymbt": 92, "origin": 196, "map": 208}  # fmt: skip
"""Byte of each field in the header, from the format's description."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "map.mrc"


def write_bytes(path, *fields, stored=VOXELS):
    """A map laid out by hand, by the format's description, with (field, values) put over it."""
    ns, nr, nc = stored.shape
    header = bytearray(1024)
    given = [("nx", (nc, nr, ns, 2)), ("mx", (nc, nr, ns)), ("cella", (1.5 * nc, 1.5 * nr, 1.5 * ns)), ("alpha", (90.0,) * 3)]
    for name, values in [*given, ("mapc", (1, 2, 3)), ("ispg", (1,)), ("map", (b"MAP ", b"DA\0\0")), *fields]:
        form = {int: "i", float: "f", bytes: "4s"}
        struct.pack_into("<" + "".join(form[type(value)] for value in values), header, WORDS[name], *values)
    path.write_bytes(bytes(header) + stored.astype("<f4").tobytes())
    return path


@pytest.mark.parametrize("voxel_size", [1.0, 1.3, 0.6789])
def test_what_is_written_is_what_is_read(path, voxel_size):
    write_array_to_mrc(VOXELS, voxel_size, path)
    array, size = read_array_from_mrc(path)
    np.testing.assert_array_equal(array, VOXELS)
    assert array.dtype == np.float32
    assert array.flags.c_contiguous
    assert size == pytest.approx(voxel_size, rel=1e-7)
    np.testing.assert_array_equal(read_array_from_mrc(path, loads_spacing=False), VOXELS)


def test_a_map_is_valid_and_the_same_bytes_each_time(path, tmp_path):
    write_array_to_mrc(VOXELS, 1.3, path)
    assert mrcfile.validate(path)
    again = tmp_path / "again.mrc"
    write_array_to_mrc(VOXELS.astype(float), 1.3, again)
    assert again.read_bytes() == path.read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["again.mrc", "map.mrc"]


def test_gemmi_finds_the_same_voxels_at_the_same_places(path):
    write_array_to_mrc(VOXELS, 1.3, path)
    other = gemmi.read_ccp4_map(str(path))
    assert other.grid.spacing == pytest.approx((1.3, 1.3, 1.3), rel=1e-6)
    np.testing.assert_array_equal(np.asarray(other.grid.array).T, VOXELS)  # gemmi indexes x, y, z
    assert [other.header_float(word) for word in (50, 51, 52)] == pytest.approx([-2 * 1.3, -3 * 1.3, -2 * 1.3], rel=1e-6)


@pytest.mark.parametrize(("origin", "expected"), [("model", [-2.6, -3.9, -2.6]), ("zero", [0, 0, 0])])
def test_the_origin_policy_says_where_the_first_voxel_lies(path, origin, expected):
    write_array_to_mrc(VOXELS, 1.3, path, origin=origin)
    np.testing.assert_allclose(read_origin_from_mrc(path), expected, atol=1e-6)
    np.testing.assert_array_equal(read_array_from_mrc(path)[0], VOXELS)


def test_an_origin_can_be_a_place_and_a_note_a_label(path):
    write_array_to_mrc(VOXELS, 1.3, path, origin=(1.5, -2.0, 7.25), note="frame 50 of 98")
    np.testing.assert_array_equal(read_origin_from_mrc(path), [1.5, -2.0, 7.25])
    assert mrcfile.validate(path)
    assert read_note(path) == "frame 50 of 98"
    with mrcfile.open(path) as file:
        assert file.header.nlabl == 2


def test_a_file_without_a_note_has_none(path):
    assert read_note(path) == ""
    write_array_to_mrc(VOXELS, 1.3, path)
    assert read_note(path) == ""
    path.write_bytes(b"no map")
    assert read_note(path) == ""


@pytest.mark.parametrize("order", list(itertools.permutations((1, 2, 3))))
def test_every_axis_order_gives_the_same_voxels_and_place(path, order):
    """MAPC, MAPR, MAPS: columns, rows and sections run along these axes; N*START count along them, cell and MX along x, y, z."""
    axis_in_array = {1: 2, 2: 1, 3: 0}
    stored = VOXELS.transpose([axis_in_array[axis] for axis in reversed(order)])
    nz, ny, nx = VOXELS.shape
    start = {1: 7, 2: -4, 3: 2}  # voxels along x, y, z
    fields = [("mapc", order), ("mx", (nx, ny, nz)), ("cella", (1.5 * nx, 1.5 * ny, 1.5 * nz))]
    write_bytes(path, *fields, ("nxstart", tuple(start[axis] for axis in order)), stored=stored)
    array, size = read_array_from_mrc(path)
    np.testing.assert_array_equal(array, VOXELS)
    assert size == 1.5
    np.testing.assert_allclose(read_origin_from_mrc(path), [10.5, -6.0, 3.0])
    gemmis = gemmi.read_ccp4_map(str(path))
    gemmis.setup(np.nan, gemmi.MapSetup.ReorderOnly)
    np.testing.assert_array_equal(np.asarray(gemmis.grid.array).T, VOXELS)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.float16, np.float32])
def test_every_real_mode_is_read(path, dtype):
    voxels = (VOXELS * 20).clip(0).astype(dtype)
    with mrcfile.new(path) as file:
        file.set_data(voxels)
        file.voxel_size = 1.0
    np.testing.assert_array_equal(read_array_from_mrc(path)[0], voxels.astype(np.float32))


def test_a_gzipped_map_is_read(path, tmp_path):
    write_array_to_mrc(VOXELS, 1.3, path)
    packed = tmp_path / "map.mrc.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    array, size = read_array_from_mrc(packed)
    np.testing.assert_array_equal(array, VOXELS)
    assert size == pytest.approx(1.3)


def test_the_voxel_size_follows_the_sampling_not_the_box(path):
    """A box cut out of a larger cell: MX counts the cell's voxels, NX the file's."""
    write_bytes(path, ("mx", (50, 60, 40)), ("cella", (75.0, 90.0, 60.0)))
    assert read_array_from_mrc(path)[1] == 1.5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([("cella", (7.5, 9.0, 7.0))], "not cubes"),
        ([("cella", (0.0, 0.0, 0.0))], "no voxel size"),
        ([("cella", (float("nan"), 9.0, 6.0))], "no voxel size"),
        ([("mx", (0, 6, 4))], "no voxel size"),
        ([("alpha", (90.0, 90.0, 120.0))], "not square"),
        ([("mapc", (1, 2, 2))], "axis order"),
        ([("mapc", (1, 2, 4))], "axis order"),
        ([("mode", (4,))], "mode 4"),
        ([("nx", (2_000_000, 2_000_000, 2_000_000))], "cut short"),
        ([("nx", (-5,))], "no voxels"),
        ([("nsymbt", (-1024,))], "cut short|no MRC map"),
        ([("ispg", (401,))], "several volumes"),
        ([("ispg", (0,)), ("mz", (1,)), ("cella", (7.5, 9.0, 1.5))], "holds images"),
        ([("map", (b"PAM ",))], "no MRC map"),
    ],
)
def test_a_header_that_cannot_be_trusted_is_refused(path, fields, message):
    """I: no silent wrong volume."""
    with pytest.raises(Refusal, match=message) as caught:
        read_array_from_mrc(write_bytes(path, *fields))
    assert caught.value.problems[0].where == str(path)


def test_two_places_that_disagree_are_refused_and_equal_ones_are_one(path):
    write_bytes(path, ("nxstart", (2, 0, 0)), ("origin", (3.0, 0.0, 0.0)))
    np.testing.assert_allclose(read_origin_from_mrc(path), [3, 0, 0])
    with pytest.raises(Refusal, match="given twice"):
        read_origin_from_mrc(write_bytes(path, ("nxstart", (2, 0, 0)), ("origin", (1.5, 0.0, 0.0))))


def test_what_is_no_map_is_refused(path, tmp_path):
    with pytest.raises(Refusal, match="no such file"):
        read_array_from_mrc(path)
    with pytest.raises(Refusal, match="no file"):
        read_array_from_mrc(tmp_path)
    for content in (b"", b"<html>" * 500, gzip.compress(b"\0" * 10_000), b"\x1f\x8bnot gzip"):
        path.write_bytes(content)
        with pytest.raises(Refusal, match="no MRC map"):
            read_array_from_mrc(path)
    write_bytes(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Refusal, match="cut short"):
        read_array_from_mrc(path)
    write_bytes(path)
    path.write_bytes(gzip.compress(path.read_bytes())[:-30])
    with pytest.raises(Refusal, match="cannot be read"):
        read_array_from_mrc(path)
    spoilt = VOXELS.copy()
    spoilt[1, 2, 3] = np.nan
    write_bytes(path, stored=spoilt)
    with pytest.raises(Refusal, match=r"nan at voxel \(z, y, x\) \(1, 2, 3\)"):
        read_array_from_mrc(path)
    write_bytes(path)
    path.write_bytes(bz2.compress(path.read_bytes()))
    with pytest.raises(Refusal, match="bzip2"):
        read_array_from_mrc(path)


def test_what_cannot_be_written_leaves_nothing_behind(path, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="finite"):
        write_array_to_mrc(VOXELS * np.nan, 1.0, path)
    with pytest.raises(ValueError, match="finite"):
        write_array_to_mrc(np.full((2, 2, 2), 1e300), 1.0, path)
    for size in (0.0, -1.0, float("inf")):
        with pytest.raises(ValueError, match="voxel_size"):
            write_array_to_mrc(VOXELS, size, path)
    for origin in ((0.0, 1.0, float("nan")), (float("inf"), 0.0, 0.0)):
        with pytest.raises(ValueError, match="origin"):
            write_array_to_mrc(VOXELS, 1.0, path, origin=origin)
    for note in ("x" * 81, "a\nb", "Å"):
        with pytest.raises(ValueError, match="note"):
            write_array_to_mrc(VOXELS, 1.0, path, note=note)
    monkeypatch.setattr(mrcfile.mrcfile.MrcFile, "set_data", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_array_to_mrc(VOXELS, 1.0, path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_only_on_request(path):
    write_array_to_mrc(VOXELS, 1.0, path)
    with pytest.raises(FileExistsError):
        write_array_to_mrc(-VOXELS, 1.0, path)
    np.testing.assert_array_equal(read_array_from_mrc(path)[0], VOXELS)
    write_array_to_mrc(-VOXELS, 1.0, path, overwrite=True)
    np.testing.assert_array_equal(read_array_from_mrc(path)[0], -VOXELS)
