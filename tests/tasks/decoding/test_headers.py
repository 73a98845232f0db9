"""The headers read by hand say what MDAnalysis' own readers say, on every trajectory of its test data."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from MDAnalysis.lib.formats.libdcd import DCDFile
from MDAnalysis.lib.formats.libmdaxdr import TRRFile, XTCFile
from MDAnalysisTests import datafiles

from cryovox.tasks.decoding.headers import dcd_layout, xdr_atoms

folder = Path(datafiles.DCD).parent
dcds = [path for path in sorted(folder.rglob("*.dcd")) if path.stat().st_size]
xdrs = [Path(datafiles.XTC), Path(datafiles.TRR), Path(datafiles.XTC_multi_frame), Path(datafiles.TRR_multi_frame)]


@pytest.mark.parametrize("path", dcds, ids=lambda path: path.name)
def test_dcd_layout_counts_the_frames_that_mdanalysis_counts(path):
    with warnings.catch_warnings(), DCDFile(str(path)) as oracle:
        warnings.simplefilter("ignore")
        n, atoms = len(oracle), oracle.header["natoms"]
    with path.open("rb") as file:
        layout = dcd_layout(file)
    size = path.stat().st_size
    assert layout is not None
    assert (layout.n_atoms, layout.complete(size), layout.trailing(size)) == (atoms, n, 0)
    if n:
        assert layout.complete(size - 1) == n - 1
        assert layout.trailing(size - 1) > 0


@pytest.mark.parametrize("path", xdrs, ids=lambda path: path.name)
def test_every_xdr_frame_announces_its_atoms_and_no_other_place_does(path):
    format = path.suffix[1:]
    with (XTCFile if format == "xtc" else TRRFile)(str(path)) as oracle, path.open("rb") as file:
        for offset in oracle.offsets:
            assert xdr_atoms(file, format, int(offset)) == oracle.n_atoms
            assert xdr_atoms(file, format, int(offset) + 4) is None
        assert xdr_atoms(file, format, path.stat().st_size) is None


def test_what_is_no_dcd_has_no_layout(tmp_path):
    rng = np.random.default_rng(0)
    good = Path(datafiles.DCD).read_bytes()[:400]
    for i, bad in enumerate([b"", b"\0" * 400, rng.bytes(400), good[:90], good[:100], good[:8] + b"\xff" * 300]):
        path = tmp_path / f"{i}.dcd"
        path.write_bytes(bad)
        with path.open("rb") as file:
            assert dcd_layout(file) is None
