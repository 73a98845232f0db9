"""Plain arrays: frames come as they stand, other shapes and types are refused by name, and nothing is unpickled."""

import json
import os
import pickle
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import zarr

from cryovox.tasks.decoding import arrays, decoder
from cryovox.tasks.decoding.arrays import chosen
from cryovox.tasks.decoding.formats import open_frames
from cryovox.tasks.decoding.frame_file import BadFrame

POINTS = np.random.default_rng(3).normal(0, 20, (6, 7, 3))


def save(folder: Path, format: str, values: np.ndarray) -> str:
    path = folder / f"points.{format}"
    if format == "npy":
        np.save(path, values, allow_pickle=True)
    elif format == "npz":
        np.savez(path, positions=values)
    else:
        zarr.create_array(path, shape=values.shape, dtype=values.dtype, chunks=(1, *values.shape[1:]))[...] = values
    return str(path)


@pytest.mark.parametrize("format", ["npy", "npz", "zarr"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_frames_come_as_they_stand(tmp_path, format, dtype):
    values = POINTS.astype(dtype)
    with open_frames(save(tmp_path, format, values), format, 7) as file:
        assert (file.n_atoms, file.index().n_frames) == (7, 6)
        for frame in (5, 0, 3):
            read = file.read(frame, -1)
            np.testing.assert_array_equal(read.positions, values[frame].astype(np.float32))
            assert np.isnan(read.time)
            assert read.cell is None


@pytest.mark.parametrize("format", ["npy", "npz", "zarr"])
def test_two_axes_are_one_frame(tmp_path, format):
    with open_frames(save(tmp_path, format, POINTS[0]), format, None) as file:
        assert (file.n_atoms, file.index().n_frames) == (7, 1)
        np.testing.assert_array_equal(file.read(0, -1).positions, POINTS[0].astype(np.float32))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [">f4", ">f8"])
def test_order_and_byte_order_of_an_npy_do_not_matter(tmp_path, order, dtype):
    with open_frames(save(tmp_path, "npy", np.array(POINTS, dtype, order=order)), "npy", None) as file:
        np.testing.assert_array_equal(file.read(4, -1).positions, POINTS[4].astype(dtype).astype(np.float32))


@pytest.mark.parametrize("format", ["npy", "npz", "zarr"])
@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.zeros((4, 5, 3), np.int32), r"array of int32, shape \(4, 5, 3\): only floats"),
        (np.zeros((4, 5, 3), complex), "array of complex128"),
        (np.zeros((4, 5, 2)), r"array of shape \(4, 5, 2\), float64"),
        (np.zeros((4, 3, 5)), r"array of shape \(4, 3, 5\), float64"),
        (np.zeros(15), r"array of shape \(15,\), float64"),
        (np.zeros((2, 2, 5, 3)), r"array of shape \(2, 2, 5, 3\)"),
    ],
)
def test_another_shape_or_type_is_refused_by_its_name(tmp_path, format, values, said):
    path = save(tmp_path, format, values)
    if format == "npz":
        kind = f"positions {values.shape} {values.dtype}".replace("(", r"\(").replace(")", r"\)")
        said = f"no array has the shape .frames, atoms, 3.: {kind}"
    with pytest.raises(BadFrame, match=said):
        open_frames(path, format, 5)


class Bomb:
    """Makes a folder where it is unpickled."""

    def __init__(self, place: str):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (self.place,)


def test_nothing_is_ever_unpickled(tmp_path):
    place = tmp_path / "run"
    objects = np.empty((1, 2, 3), object)
    objects[...] = Bomb(str(place))
    with pytest.raises(BadFrame, match=r"object, shape \(1, 2, 3\)"):
        open_frames(save(tmp_path, "npy", objects), "npy", None)
    np.savez(tmp_path / "o.npz", positions=objects)
    with pytest.raises(BadFrame, match=r"positions \(1, 2, 3\) object"):
        open_frames(str(tmp_path / "o.npz"), "npz", None)
    (tmp_path / "bare.npy").write_bytes(pickle.dumps(Bomb(str(place))))
    with pytest.raises(BadFrame, match="no NumPy file"):
        open_frames(str(tmp_path / "bare.npy"), "npy", None)
    meta = {"zarr_format": 2, "shape": [1, 2, 3], "chunks": [1, 2, 3], "dtype": "<f4", "fill_value": 0, "order": "C"}
    codec = {"id": "pickle", "protocol": 4}
    for name, coded in {"f": {"compressor": None, "filters": [codec]}, "c": {"compressor": codec, "filters": None}}.items():
        folder = tmp_path / f"{name}.zarr"
        folder.mkdir()
        (folder / ".zarray").write_text(json.dumps({**meta, **coded}))
        (folder / "0.0.0").write_bytes(pickle.dumps(Bomb(str(place))))
        with pytest.raises(BadFrame, match="pickle"):
            open_frames(str(folder), "zarr", None)
    assert not place.exists()
    pickle.loads(pickle.dumps(Bomb(str(place))))
    assert place.exists(), "the trap works"


def test_a_cut_npy_keeps_its_complete_frames(tmp_path):
    path = Path(save(tmp_path, "npy", POINTS))
    path.write_bytes(path.read_bytes()[:-100])
    with open_frames(str(path), "npy", None) as file:
        index = file.index()
        assert (index.n_frames, index.promised, index.trailing) == (5, 6, 7 * 3 * 8 - 100)
        np.testing.assert_array_equal(file.read(4, -1).positions, POINTS[4].astype(np.float32))
        with pytest.raises(BadFrame, match="the file ends inside the frame"):
            file.read(5, -1)


def test_bytes_after_an_npy_are_counted(tmp_path):
    path = Path(save(tmp_path, "npy", POINTS))
    path.write_bytes(path.read_bytes() + b"more")
    with open_frames(str(path), "npy", None) as file:
        assert file.index().trailing == 4


def test_of_several_arrays_the_only_one_that_fits_or_a_known_name_is_taken():
    frames, other = np.zeros((4, 5, 3)), np.zeros((4, 3, 3))
    assert chosen({"pos": frames, "orientation": np.zeros((4, 5, 3, 3)), "sequence": np.array("ABC")}, None) == "pos"
    assert chosen({"anything": frames, "n": np.zeros(4)}, None) == "anything"
    assert chosen({"x": frames, "coords": frames}, None) == "coords"
    assert chosen({"box": other, "mine": frames}, 5) == "mine"
    with pytest.raises(
        BadFrame, match=r"several arrays could be the positions: box \(4, 3, 3\) float64, mine \(4, 5, 3\) float64"
    ):
        chosen({"box": other, "mine": frames}, None)
    with pytest.raises(BadFrame, match=r"no array has the shape \(frames, atoms, 3\): n \(4,\) float64"):
        chosen({"n": np.zeros(4)}, None)


def test_a_zarr_group_gives_its_positions(tmp_path):
    group = zarr.create_group(tmp_path / "g.zarr")
    group.create_array("times", shape=(6,), dtype="f8")
    group.create_array("xyz", shape=POINTS.shape, dtype="f8")[...] = POINTS
    with open_frames(str(tmp_path / "g.zarr"), "zarr", None) as file:
        np.testing.assert_array_equal(file.read(2, -1).positions, POINTS[2].astype(np.float32))


def test_a_frame_of_a_large_npy_costs_a_frame_of_memory(tmp_path):
    values = np.lib.format.open_memmap(tmp_path / "large.npy", "w+", np.float32, (2000, 1000, 3))
    values[1999] = 7
    values.flush()
    del values
    with open_frames(str(tmp_path / "large.npy"), "npy", None) as file:
        file.index()
        tracemalloc.start()
        assert (file.read(1999, -1).positions == 7).all()
        assert tracemalloc.get_traced_memory()[1] < 200_000
        tracemalloc.stop()


def test_an_npz_that_would_unpack_beyond_bounds_is_refused(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "bomb.npz", positions=np.zeros((100, 1000, 3)))
    monkeypatch.setattr(arrays, "LARGEST", 1 << 20)
    with pytest.raises(BadFrame, match=r"positions takes 2400000 bytes, more than 1048576: save it as \.npy"):
        open_frames(str(tmp_path / "bomb.npz"), "npz", None)


def test_a_damaged_npz_is_a_problem_of_the_file(tmp_path):
    path = Path(save(tmp_path, "npz", POINTS))
    raw = bytearray(path.read_bytes())
    raw[300] ^= 255
    path.write_bytes(raw)
    answer = decoder.index({"path": str(path), "format": "npz", "n_atoms": None, "where": "x"}, {})
    assert "CRC" in answer.head["problem"]["got"]


def test_an_npz_of_hundreds_of_megabytes_is_unpacked_once_too(tmp_path, monkeypatch):
    values = np.zeros((300, 100_000, 3), np.float32)
    values[:, :, 0] = np.arange(300)[:, None]
    np.savez_compressed(tmp_path / "large.npz", positions=values)
    del values
    unpacked, right = [], arrays._unpack
    monkeypatch.setattr(arrays, "_member", type(arrays._member)())
    monkeypatch.setattr(arrays, "_unpack", lambda *a: unpacked.append(1) or right(*a))
    request = {"path": str(tmp_path / "large.npz"), "format": "npz", "n_atoms": 100_000}
    for frame in (3, 299, 0):
        answer = decoder.read(request, {"frames": np.array([frame]), "selection": np.array([99_999])})
        np.testing.assert_array_equal(answer.arrays["positions"], [[[frame, 0, 0]]])
    assert len(unpacked) == 1


def test_an_npz_is_unpacked_once_for_many_requests_and_anew_when_it_changes(tmp_path, monkeypatch):
    path = save(tmp_path, "npz", POINTS)
    opened = []
    real = zipfile.ZipFile
    monkeypatch.setattr(arrays.zipfile, "ZipFile", lambda *a, **k: opened.append(1) or real(*a, **k))
    request = {"path": path, "format": "npz", "n_atoms": 7}
    wanted = {"frames": np.array([1]), "selection": np.arange(7)}
    for _ in range(3):
        np.testing.assert_array_equal(decoder.read(request, wanted).arrays["positions"][0], POINTS[1].astype(np.float32))
    assert len(opened) == 1
    monkeypatch.undo()
    np.savez(path, positions=np.concatenate([POINTS, POINTS]) + 1)
    np.testing.assert_array_equal(decoder.read(request, wanted).arrays["positions"][0], (POINTS[1] + 1).astype(np.float32))
