"""Arrays are read in the unit that their neighbouring atoms tell, or in the one that the recipe says, or not at all."""

from dataclasses import replace

import numpy as np
import pytest

from cryovox.tasks.decoding.sandbox import Sandbox
from cryovox.tasks.ensemble.reader import FrameReader
from cryovox.tasks.ensemble.settings import TrajectorySettings
from cryovox.tasks.ensemble.trajectory import open_trajectory
from cryovox.tasks.errors import Refusal


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def array(look_alikes, tmp_path):
    """AdK's heavy atoms as an array in any unit."""
    folder = look_alikes.make("arrays")

    def write(scale, name="x.npy"):
        np.save(tmp_path / name, 10 * np.load(folder / "coordinates.npy") * scale)
        return TrajectorySettings(str(tmp_path / name), str(folder / "adk.pdb"))

    return write


@pytest.mark.parametrize(("scale", "units"), [(0.1, "auto"), (1.0, "auto"), (0.1, "nm"), (1.0, "angstrom")])
def test_the_positions_come_in_angstrom(scale, units, array, sandbox, tmp_path, look_alikes):
    ensemble = open_trajectory(replace(array(scale), units=units), tmp_path, sandbox)
    with FrameReader(ensemble.trajectory, sandbox) as reader:
        (first,) = reader.read(np.zeros(1, np.int64)).positions
    np.testing.assert_allclose(first, look_alikes.heavy.positions[0], atol=1e-4)
    said = [note for note in ensemble.notes if "unit" in note]
    assert len(said) == (units == "auto")


@pytest.mark.parametrize("scale", [0.001, 0.3, 10.0])
def test_a_unit_that_is_neither_is_refused_with_the_distance(scale, array, sandbox, tmp_path):
    with pytest.raises(Refusal) as refused:
        open_trajectory(array(scale), tmp_path, sandbox)
    problem = refused.value.problems[0]
    assert problem.what == "the unit of the coordinates is unclear"
    assert float(problem.got.split()[3]) == pytest.approx(1.54 * scale, rel=0.01)
    assert "`units: angstrom` or `units: nm`" in problem.fix


def test_a_wrong_unit_is_found_by_the_bonds(array, sandbox, tmp_path):
    for scale, units in ((1.0, "nm"), (0.1, "angstrom")):
        with pytest.raises(Refusal):
            open_trajectory(replace(array(scale), units=units), tmp_path, sandbox)


def test_other_formats_have_their_own_unit(quickstart, sandbox):
    with pytest.raises(Refusal) as refused:
        open_trajectory(TrajectorySettings("adk.xtc", "adk.pdb", units="nm"), quickstart, sandbox)
    (problem,) = refused.value.problems
    assert problem.where == "ensemble.units"
