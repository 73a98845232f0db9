"""What is exported is what is stored: every voxel, its place and its frame, in files that others call valid."""

import hashlib
import json

import gemmi
import mrcfile
import numpy as np
import pytest
import zarr


def export(inside, made, cwd, *options):
    done = inside("export", made.path, "--to", "out", *options, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def file_of(cwd, frame: int):
    return cwd / "out" / "volumes" / f"frame_{frame:06}.mrc"


@pytest.mark.parametrize("origin", ["model", "zero"])
def test_every_volume_comes_back_voxel_for_voxel_with_a_valid_header(tiny, done, tmp_path, inside, origin):
    said = export(inside, tiny, tmp_path, "--origin", origin)
    assert f"{len(done)} of 9 × 14 × 11 voxels (z, y, x) of 1.5 Å" in said
    assert sorted(file.name for file in (tmp_path / "out" / "volumes").iterdir()) == [f"frame_{n:06}.mrc" for n in done]
    for frame in done:
        path = file_of(tmp_path, frame)
        assert mrcfile.validate(path)
        with mrcfile.open(path) as file:
            header = file.header
            np.testing.assert_array_equal(file.data, tiny.volumes[frame])
            assert (header.mx, header.my, header.mz) == (11, 14, 9)
            assert header.cella.tolist() == pytest.approx((16.5, 21.0, 13.5))
            assert (header.mapc, header.mapr, header.maps) == (1, 2, 3)
            assert (header.nxstart, header.nystart, header.nzstart) == (0, 0, 0)
            assert header.ispg == 1
            assert header.origin.tolist() == pytest.approx((-7.5, -10.5, -6.0) if origin == "model" else (0, 0, 0))
        other = gemmi.read_ccp4_map(str(path))
        np.testing.assert_array_equal(np.asarray(other.grid.array).T, tiny.volumes[frame])
        assert other.grid.spacing == pytest.approx((1.5, 1.5, 1.5))


def test_a_stack_is_a_valid_volume_stack_of_the_same_voxels(tiny, done, tmp_path, inside):
    export(inside, tiny, tmp_path, "--stack")
    path = tmp_path / "out" / "volumes.mrc"
    assert mrcfile.validate(path)
    with mrcfile.open(path) as file:
        assert file.is_volume_stack()
        assert file.header.ispg == 401
        assert file.header.mz == 9
        assert file.header.cella.tolist() == pytest.approx((16.5, 21.0, 13.5))
        np.testing.assert_array_equal(file.data, tiny.volumes[done])
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "export.json", "frames.csv", "frames.star", "series.cxc", "volumes.mrc",
    ]  # fmt: skip


CUTS = [
    ("1:7,2:-3,:", "", (slice(1, 7), slice(2, 11), slice(0, 11)), (6, 9, 11), (0, 0, 0)),
    ("", "cubic", (slice(0, 9), slice(0, 14), slice(0, 11)), (14, 14, 14), (3, 0, 2)),
    ("", "20", (slice(0, 9), slice(0, 14), slice(0, 11)), (20, 20, 20), (6, 3, 5)),
    ("0:9,0:9,0:9", "cubic", (slice(0, 9),) * 3, (10, 10, 10), (1, 1, 1)),
    ("-1:,0:1,3:6", "4", (slice(8, 9), slice(0, 1), slice(3, 6)), (4, 4, 4), (2, 2, 1)),
]


@pytest.mark.parametrize(("region", "box", "slices", "shape", "before"), CUTS)
@pytest.mark.parametrize("stack", [False, True])
def test_a_region_and_a_box_keep_each_voxel_at_its_place(tiny, done, tmp_path, inside, region, box, slices, shape, before, stack):
    options = [*(["--region", region] if region else []), *(["--box", box] if box else []), *(["--stack"] if stack else [])]
    export(inside, tiny, tmp_path, *options)
    with mrcfile.open(tmp_path / "out" / "volumes.mrc" if stack else file_of(tmp_path, 3)) as file:
        voxels, origin = file.data[done.index(3)] if stack else file.data.copy(), file.header.origin.tolist()
    assert voxels.shape == shape
    expected = np.zeros(shape, np.float32)
    cut = tiny.volumes[3][slices]
    expected[tuple(slice(at, at + n) for at, n in zip(before, cut.shape, strict=True))] = cut
    np.testing.assert_array_equal(voxels, expected)
    # the store's voxel n//2 stays at 0, and where the box was padded the middle of what was cut is its middle
    first = [along.start - at - n // 2 for along, at, n in zip(slices, before, (9, 14, 11), strict=True)]
    assert origin == pytest.approx([1.5 * at for at in first[::-1]])
    if box:
        assert [at + n // 2 for at, n in zip(before, cut.shape, strict=True)] == [n // 2 for n in shape]


@pytest.mark.parametrize(
    ("frames", "expected"), [("3", [3]), ("::3", [0, 3, 6]), ("1:4", [1, 3]), ("-1", [6]), ("::-2", [6, 4, 0])]
)
def test_only_frames_that_were_asked_for_and_are_done_are_written(tiny, tmp_path, inside, frames, expected):
    said = export(inside, tiny, tmp_path, "--frames", frames)
    assert sorted(file.name for file in (tmp_path / "out" / "volumes").iterdir()) == sorted(f"frame_{n:06}.mrc" for n in expected)
    rows = (tmp_path / "out" / "frames.csv").read_text().splitlines()[1:]
    assert [int(row.split(",")[2]) for row in rows] == expected
    assert ("left out" in said) == (frames in ("1:4", "::-2"))


def test_frames_that_are_not_done_are_counted_and_the_first_named(tiny, tmp_path, inside):
    said = export(inside, tiny, tmp_path)
    assert "left out     2 of 7 frames that were asked for: 1 skipped, 1 pending" in said
    assert "frame 2: atom 5 is at nan" in said


REFUSED = [
    ((), "neither --to nor --trajectory"),
    (("--trajectory", "a.dcd", "--box", "cubic", "--stack"), "no --to"),
    (("--to", "out", "--region", "1:2,3"), "the region cannot be read"),
    (("--to", "out", "--region", "1:2:1,:,:"), "the region cannot be read"),
    (("--to", "out", "--region", "3,:,:"), "the region cannot be read"),
    (("--to", "out", "--region", "0:10,5:5,0:11"), "--region, z"),
    (("--to", "out", "--region", "0:10,5:5,0:11"), "--region, y"),
    (("--to", "out", "--box", "13"), "an even number of voxels"),
    (("--to", "out", "--box", "12"), "at least 14"),
    (("--to", "out", "--box", "big"), "the box cannot be read"),
    (("--to", "no/such/folder"), "there is no such folder"),
    (("--to", "mine.txt"), "this is no folder"),
    (("--to", "taken"), "something is there already"),
    (("--to", "out", "--frames", "5"), "nothing to export"),
    (("--to", "out", "--frames", "all"), "frames cannot be read"),
    (("--to", "out", "--trajectory", "a.dcd"), "nobody remembers"),
    (("--to", "strange"), "no word of an export"),
]


@pytest.mark.parametrize(("options", "said"), REFUSED)
def test_what_cannot_be_exported_is_refused_and_nothing_is_left(tiny, tmp_path, inside, options, said):
    (tmp_path / "mine.txt").write_text("mine")
    for name in ("taken", "strange"):
        (tmp_path / name).mkdir()
    (tmp_path / "taken" / "frames.csv").write_text("mine")
    (tmp_path / "strange" / "export.json").write_text("[1]")
    before = sorted(tmp_path.rglob("*"))
    done = inside("export", tiny.path, *options, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "where:" in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("place", ["tiny.zarr", "tiny.zarr/out", "tiny.zarr.run/out"])
def test_nothing_is_written_into_a_store(tiny, inside, place):
    before = sorted(tiny.path.rglob("*"))
    done = inside("export", tiny.path, "--to", tiny.path.parent / place, cwd=tiny.path.parent)
    assert done.returncode == 2
    assert "the folder is a store's own" in done.stderr
    assert sorted(tiny.path.rglob("*")) == before


@pytest.mark.parametrize("place", ["b.zarr", "b.zarr/out", "b.zarr.run/out"])
def test_nor_into_another_one(tiny, tiny_of, tmp_path, inside, place):
    tiny_of(tmp_path / "b.zarr")
    (tmp_path / "b.zarr.run").mkdir(exist_ok=True)
    before = sorted(tmp_path.rglob("*"))
    done = inside("export", tiny.path, "--to", place, cwd=tmp_path)
    assert done.returncode == 2
    assert "the folder is a store's own" in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_zarr_group_of_ones_own_is_a_folder_like_any_other(tiny, tmp_path, inside):
    zarr.create_group(tmp_path / "mine")
    assert inside("export", tiny.path, "--to", "mine/out", cwd=tmp_path).returncode == 0


def test_a_disk_without_room_is_said_before_anything_is_written(tiny, tmp_path, inside, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10_000})())
    done = inside("export", tiny.path, "--to", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert "no room" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_another_export_into_the_same_folder_is_refused_with_what_differs(tiny, tmp_path, inside, digests):
    export(inside, tiny, tmp_path, "--box", "cubic")
    before = digests(tmp_path)
    for options, differs in (
        ((), "box [9, 14, 11]"),
        (("--box", "cubic", "--origin", "zero"), "origin zero"),
        (("--box", "cubic", "--frames", "0:3"), "frames [0, 3, 1]"),
        (("--box", "14", "--stack"), "stack True"),
    ):
        done = inside("export", tiny.path, "--to", "out", *options, cwd=tmp_path)
        assert done.returncode == 2
        assert "another export is in this folder" in done.stderr
        assert differs in done.stderr
    assert digests(tmp_path) == before
    # a box of as many voxels is the same export, whatever it was called
    assert "5 of them there already" in export(inside, tiny, tmp_path, "--box", "14")
    assert digests(tmp_path) == before


def test_the_word_of_an_export_says_what_was_asked(tiny, tmp_path, inside):
    export(inside, tiny, tmp_path, "--frames", "::3")
    said = json.loads((tmp_path / "out" / "export.json").read_text())
    assert said["asked"]["recipe"] == "b3c4"
    assert said["asked"]["frames"] == [0, 7, 3]
    shard = hashlib.sha256((tiny.path / "potential" / "c.3.0.0.0").read_bytes()).hexdigest()[:16]
    with mrcfile.open(file_of(tmp_path, 3)) as file:
        assert file.header.label[1].decode().rstrip() == f"export {said['digest']}, frame 3, shard {shard}"


def test_values_of_float16_come_back_exactly(tmp_path, inside, tiny_of):
    made = tiny_of(tmp_path / "half.zarr", "float16")
    export(inside, made, tmp_path)
    with mrcfile.open(file_of(tmp_path, 6)) as file:
        assert file.data.dtype == np.float32
        np.testing.assert_array_equal(file.data, made.volumes[6])
