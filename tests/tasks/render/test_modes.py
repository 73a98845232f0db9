"""Modes cost what the molecule needs and no more; what is left out changes nothing, and neither does the core."""

import os
import subprocess
import sys
from functools import cache

import jax
import numpy as np
import pytest

from cryovox.tasks.render import fft
from cryovox.tasks.render.fft import FFTAtomRenderFn
from cryovox.tasks.render.nufft import LEAST, around, whole
from cryovox.tasks.scattering.parameters import LobatoScatteringFactorParameters
from cryovox.tasks.volume.independent_atoms import IndependentAtomVolume

LOBATO = LobatoScatteringFactorParameters([6, 8])
DRAW = np.random.default_rng(0)
SHAPE = (60, 50, 64)


def molecule(width=4.0, centre=(0, 0, 0), n=40):
    points = np.random.default_rng(1).uniform(-width, width, (n, 3)) + centre
    points[:2] = np.array([-width, width])[:, None] + centre
    return IndependentAtomVolume.from_tabulated_parameters((points[: n // 2], points[n // 2 :]), LOBATO, b_factors=30.0)


@cache
def drawing(shape, h, **options):
    """One of these options, as it is and compiled for positions anywhere: cases that differ in these alone share the program."""
    draw = FFTAtomRenderFn(shape, h, outside="wrap", **options)
    return draw, jax.jit(draw)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("u", [1, 2])
@pytest.mark.parametrize("centre", [pytest.param((0, 0, 0), marks=pytest.mark.slow), (20, -12, 15), (31, 24, -29)])
def test_the_part_of_the_grid_where_atoms_lie_gives_what_all_of_it_gives(u, centre):
    """Traced positions may be anywhere: all of the grid for u = 1, blocks of modes above. Centred, aside, across the faces."""
    (draw, anywhere), volume = drawing(SHAPE, 1.0, eps=1e-6, upsampling=u), molecule(centre=centre)
    everywhere = np.asarray(anywhere(volume))
    np.testing.assert_allclose(draw(volume), everywhere, rtol=0, atol=(1e-14 if u == 1 else 1e-6) * np.abs(everywhere).max())


@pytest.mark.parametrize(
    ("n", "h", "x"),
    [(29, 1.06, 15.37), pytest.param(52, 1.5, 39.0, marks=pytest.mark.slow), (40, 1.0, -20.0), (40, 1.0, 19.999999)],
)
def test_an_atom_on_a_face_is_drawn_once_whatever_single_precision_makes_of_its_place(n, h, x):
    points = np.float32([[x, 0.0, 0.0], [1.0, 2.0, 3.0]])
    draw, anywhere = drawing((n, n, n), h, upsampling=1)
    volume = IndependentAtomVolume.from_tabulated_parameters((points,), LobatoScatteringFactorParameters([6]), b_factors=30.0)
    everywhere = np.asarray(anywhere(volume))
    np.testing.assert_allclose(draw(volume), everywhere, rtol=0, atol=1e-6 * np.abs(everywhere).max())


@pytest.mark.usefixtures("x64")
def test_atoms_outside_come_back_where_the_molecule_is():
    """A box further off it is the same molecule, of the same size."""
    shape, moved = (40, 40, 40), molecule(centre=(0, 0, 0))
    away = jax.tree.map(lambda leaf: leaf + np.array([40.0, -80.0, 40.0]) if np.shape(leaf)[-1:] == (3,) else leaf, moved)
    draw = FFTAtomRenderFn(shape, 1.0, eps=1e-6, upsampling=2, outside="wrap")
    np.testing.assert_allclose(draw(away), draw(moved), rtol=0, atol=1e-12)


def test_a_region_holds_every_kernel_and_follows_the_molecule():
    fine, width, sizes = (200, 180, 220), 9, set()
    for _ in range(50):
        centre, spread = DRAW.uniform(-40, 40, 3), DRAW.uniform(0, 20, 3)
        cells = DRAW.uniform(-1, 1, (30, 3)) * spread + centre
        region = around(cells, fine, width)
        first = np.ceil(cells - width / 2)[:, ::-1]
        begin, end = np.array(region.origin), np.array(region.origin) + region.size
        assert np.all(first >= begin)
        assert np.all(first + width <= end)
        assert np.all(region.size < max(1.5 * (2 * spread.max() + width + 6), LEAST + 1))
        sizes.update(region.size)
    assert sizes <= {32, 48, 64, 96}
    assert around(np.array([[0.0, 0, 0], [111, 0, 0]]), fine, width) == whole(fine, width)
    assert around(np.zeros((0, 3)), fine, width) == whole(fine, width)
    assert around(np.array([[-110.0, -90, -100], [110, 90, 100]]), fine, width) == whole(fine, width)


def test_a_molecule_that_moves_and_breathes_a_little_needs_no_new_program():
    draw = FFTAtomRenderFn((48, 48, 48), 1.0, upsampling=1)
    draw(molecule(width=4.0))
    before = fft._voxels._cache_size()
    for width, centre in ((4.3, (0, 0, 0)), (4.6, (3, -5, 7)), (3.9, (-11, 0, 2))):
        draw(molecule(width, centre))
    assert fft._voxels._cache_size() == before


DRAWN = """
import os, sys
os.sched_setaffinity(0, set(map(int, sys.argv[1].split(","))))
import numpy as np
from cryovox import FFTAtomRenderFn, IndependentAtomVolume, LobatoScatteringFactorParameters
points = np.random.default_rng(0).uniform(-25, 25, (300, 3))
volume = IndependentAtomVolume.from_tabulated_parameters((points,), LobatoScatteringFactorParameters([6]), b_factors=30.0)
draws = (FFTAtomRenderFn((72, 72, 72), 1.0, sampling_mode=mode, upsampling=u) for u, mode in ((1, "average"), (2, "point")))
np.save(sys.argv[2], np.stack([draw(volume) for draw in draws]))
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system cannot bind a process to a core")
@pytest.mark.skipif(len(getattr(os, "sched_getaffinity", lambda _: [])(0)) < 2, reason="one core")
def test_a_process_on_one_core_draws_the_same_bytes_on_any_and_two_cores_the_same_volume(tmp_path):
    """Workers have one core each. Some versions of XLA share a product out among cores and then round otherwise."""
    first, second = sorted(os.sched_getaffinity(0))[:2]
    chosen = {"one": f"{first}", "other": f"{second}", "both": f"{first},{second}"}
    running = [subprocess.Popen([sys.executable, "-c", DRAWN, cores, tmp_path / f"{name}.npy"]) for name, cores in chosen.items()]
    assert [process.wait() for process in running] == [0, 0, 0]
    one, other, both = (np.load(tmp_path / f"{name}.npy") for name in chosen)
    np.testing.assert_array_equal(one, other)
    assert one.any()
    assert np.linalg.norm(both - one) <= 1e-7 * np.linalg.norm(one)


MEMORY = r"""
import re, sys
import numpy as np
from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.render.base import RenderSettings
from cryovox.tasks.render.fft_engine import FFTEngine, arrays_of
from cryovox.tasks.values import Atoms
from cryovox.tasks.volume.tabulated import TabulatedAtoms

settings = RenderSettings(method="fft", tolerance=1e-6, upsampling=int(sys.argv[1]), accept_error=0.9)
atoms = TabulatedAtoms(Atoms(np.full(500, 6), np.full(500, 30.0), np.ones(500)), "lobato2014")
def peak(n):
    grid = VoxelGrid((n, n, n), 1.0)
    volume = atoms.at(np.random.default_rng(0).uniform(-1, 1, (500, 3)) * float(sys.argv[2]) * n)
    FFTEngine(grid, settings).render(volume)
    # not getrusage's: that begins with the parent's
    most = int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[1]) * 1024
    return most, arrays_of(volume, grid, settings) * 4 * n**3
before, _ = peak(48)
after, said = peak(192)
print((after - before) / said)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from Linux's /proc")
@pytest.mark.parametrize(("u", "reach"), [(1, 0.15), (2, 0.15), (1, 0.45), (2, 0.25)])
def test_a_frame_takes_the_memory_that_is_said(u, reach):
    """`reach`: half the molecule's edge over the box's. What the first, small box took is not counted."""
    done = subprocess.run([sys.executable, "-c", MEMORY, str(u), str(reach)], capture_output=True, text=True, check=True)
    assert 0.4 < float(done.stdout) < 1.25
