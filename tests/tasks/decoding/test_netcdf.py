"""NetCDF-3 by its header alone: scale factors, other layouts, files that are cut short, headers that lie."""

from pathlib import Path

import numpy as np
import pytest
from MDAnalysisTests import datafiles
from scipy.io import netcdf_file

from cryovox.tasks.decoding.formats import open_frames
from cryovox.tasks.decoding.frame_file import BadFrame
from cryovox.tasks.decoding.netcdf import netcdf_layout

POINTS = np.random.default_rng(1).normal(0, 9, (4, 5, 3)).astype(np.float32)


def write(path, version=2, dtype="f4", scale=None, units="angstrom", conventions="AMBER", frames=None, only=False) -> str:
    """An AMBER trajectory by SciPy; `frames`: a fixed number of them instead of records; `only`: no times."""
    with netcdf_file(path, "w", version=version) as file:
        if conventions is not None:
            file.Conventions = conventions
        file.createDimension("frame", frames)
        file.createDimension("spatial", 3)
        file.createDimension("atom", 5)
        points = file.createVariable("coordinates", dtype, ("frame", "atom", "spatial"))
        points.units = units
        if scale is not None:
            points.scale_factor = scale
        if not only:
            file.createVariable("time", "f4", ("frame",)).units = "picosecond"
        for i, frame in enumerate(POINTS):
            points[i] = frame if scale is None else np.round(frame / scale)
            if not only:
                file.variables["time"][i] = 2.5 * i
    return str(path)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("frames", [None, 4])
@pytest.mark.parametrize("only", [False, True])
def test_frames_are_found_in_every_layout(tmp_path, version, frames, only):
    path = write(tmp_path / "a.nc", version=version, frames=frames, only=only)
    with open_frames(path, "ncdf", None) as file:
        index = file.index()
        assert (index.n_frames, index.promised, index.trailing, file.n_atoms) == (4, 4, 0, 5)
        for i in (3, 0, 2):
            read = file.read(i, -1)
            np.testing.assert_array_equal(read.positions, POINTS[i])
            np.testing.assert_equal(read.time, np.nan if only else 2.5 * i)
            assert read.cell is None


def test_scale_factor_and_unit_are_applied(tmp_path):
    packed = write(tmp_path / "packed.nc", dtype="i2", scale=0.01)
    with open_frames(packed, "ncdf", None) as file:
        np.testing.assert_allclose(file.read(2, -1).positions, np.round(POINTS[2] / 0.01) * 0.01, rtol=1e-6)
    long = write(tmp_path / "long.nc", units="nanometer")
    with open_frames(long, "ncdf", None) as file:
        np.testing.assert_allclose(file.read(2, -1).positions, POINTS[2] * 10, rtol=1e-6)


def test_the_header_is_as_scipy_reads_it():
    path = Path(datafiles.NCDFtruncoct)
    with path.open("rb") as file:
        layout = netcdf_layout(file, path.stat().st_size)
    with netcdf_file(path, mmap=False) as other:
        assert {k: v for k, v in layout.dimensions.items() if k != layout.record} == {
            k: v for k, v in other.dimensions.items() if v is not None
        }
        assert set(layout.variables) == set(other.variables)
        for name, variable in layout.variables.items():
            assert variable.dimensions == other.variables[name].dimensions
            assert variable.dtype == other.variables[name].data.dtype


@pytest.mark.parametrize("lost", [1, 100, 70_000, 350_000])
def test_a_cut_file_keeps_its_complete_frames(tmp_path, lost):
    raw = Path(datafiles.NCDFtruncoct).read_bytes()
    path = tmp_path / "cut.nc"
    path.write_bytes(raw[: len(raw) - lost])
    with open_frames(datafiles.NCDFtruncoct, "ncdf", None) as whole, open_frames(str(path), "ncdf", None) as cut:
        index = cut.index()
        stride = whole._layout.variables["coordinates"].stride
        assert index.promised == 10
        assert index.n_frames == 10 - -(-lost // stride)
        assert index.trailing == stride * (10 - index.n_frames) - lost
        last = index.n_frames - 1
        np.testing.assert_array_equal(cut.read(last, -1).positions, whole.read(last, -1).positions)
        with pytest.raises(BadFrame, match="the file ends inside the frame"):
            cut.read(9, -1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"units": "furlong"}, "unknown unit furlong"),
        ({"conventions": "CF-1.6"}, "not of AMBER's trajectory convention: Conventions = CF-1.6"),
        ({"conventions": None}, "Conventions = nothing"),
    ],
)
def test_another_convention_or_unit_is_refused(tmp_path, options, said):
    with pytest.raises(BadFrame, match=said):
        open_frames(write(tmp_path / "a.nc", **options), "ncdf", None)


def test_netcdf_4_is_named(tmp_path):
    path = tmp_path / "four.nc"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(BadFrame, match=r"NetCDF-4 .* nccopy -k nc6"):
        open_frames(str(path), "ncdf", None)


def test_a_damaged_header_is_refused_or_read_but_never_believed_without_bound(tmp_path):
    raw = bytearray(Path(write(tmp_path / "a.nc")).read_bytes())
    path, random = tmp_path / "b.nc", np.random.default_rng(2)
    refused = 0
    for _ in range(300):
        bad = bytearray(raw)
        for place in random.integers(0, 400, 3):
            bad[place] = random.integers(0, 256)
        path.write_bytes(bad)
        try:
            with open_frames(str(path), "ncdf", None) as file:
                index = file.index()
                assert 0 <= index.n_frames <= len(raw)
        except (BadFrame, OverflowError, ValueError, KeyError, ZeroDivisionError):
            refused += 1
    assert refused > 50
