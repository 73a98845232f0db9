"""The certificate finds what is wrong, and its sampled error is that of the whole frame."""

import dataclasses

import numpy as np
import pytest

from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.render.base import CertificateSettings, RenderSettings
from cryovox.tasks.render.bricks import BrickEngine
from cryovox.tasks.render.certificate import accuracy, certified_frames, limits, relative
from cryovox.tasks.render.direct import direct_block
from cryovox.tasks.render.oracle import GaussianOracle
from cryovox.tasks.scattering.gaussians import gaussians
from cryovox.tasks.values import Atoms

WHOLE = CertificateSettings(voxels="all")


@pytest.fixture(scope="module")
def frame():
    draw, grid = np.random.default_rng(0), VoxelGrid((72, 64, 90), 1.0)
    points = draw.uniform(-16, 16, (500, 3)) + np.array([0, 0, 6])
    a, v = gaussians(Atoms(draw.choice([1, 6, 7, 8], 500), np.full(500, 30.0), np.ones(500)))
    return grid, BrickEngine(grid, 1e-4, 64).render(points[None], a, v), points, a, v


def test_the_whole_box_gives_the_exact_error(frame):
    grid, bricks, points, a, v = frame
    direct = direct_block(grid, tuple(np.arange(n) for n in grid.shape), points, a, v)
    stored = bricks.dense(grid)[0].astype(float)
    found = accuracy(grid, bricks, 0, GaussianOracle(points, a, v), WHOLE)
    assert found.n_voxels == grid.n_voxels
    assert found.squared_error == pytest.approx(((stored - direct) ** 2).sum(), rel=1e-9)
    assert found.squared_norm == pytest.approx((stored**2).sum(), rel=1e-12)
    assert found.largest_error == pytest.approx(np.abs(stored - direct).max(), rel=1e-9)


def test_the_sample_estimates_it(frame):
    grid, bricks, points, a, v = frame
    whole = relative([accuracy(grid, bricks, 0, GaussianOracle(points, a, v), WHOLE)])[0]
    sampled = [relative([accuracy(grid, bricks, i, GaussianOracle(points, a, v), CertificateSettings())])[0] for i in range(8)]
    assert np.sqrt(np.mean(np.square(sampled))) == pytest.approx(whole, rel=0.3)
    assert len(set(sampled)) == 8  # each frame draws its own voxels
    again = accuracy(grid, bricks, 3, GaussianOracle(points, a, v), CertificateSettings())
    assert again == accuracy(grid, bricks, 3, GaussianOracle(points, a, v), CertificateSettings())


@pytest.mark.parametrize("wrong", ["scaled", "axes swapped", "shifted", "a brick lost", "all zero", "a stray brick"])
def test_wrong_voxels_exceed_the_limit(frame, wrong):
    grid, bricks, points, a, v = frame
    values, indices = bricks.values.copy(), bricks.indices.copy()
    if wrong == "scaled":
        values *= 1.001
    elif wrong == "axes swapped":
        values = values.transpose(0, 3, 2, 1)
    elif wrong == "shifted":
        values = np.roll(values, 1, axis=1)
    elif wrong == "a brick lost":
        fullest = np.abs(values).sum((1, 2, 3)).argmax()
        values, indices = np.delete(values, fullest, 0), np.delete(indices, fullest, 0)
    elif wrong == "all zero":
        values[:] = 0
    else:
        empty = next(i for i in np.ndindex(*grid.n_bricks) if i not in {tuple(map(int, x)) for x in indices})
        fullest = np.abs(values).sum((1, 2, 3)).argmax()
        values, indices = np.vstack([values, values[[fullest]]]), np.vstack([indices, [empty]])
    damaged = dataclasses.replace(bricks, values=values, indices=indices, frames=np.zeros(len(values), int))
    errors = relative([accuracy(grid, damaged, 0, GaussianOracle(points, a, v), CertificateSettings())])
    assert max(errors) > limits(RenderSettings(tolerance=1e-5)).voxels
    right = relative([accuracy(grid, bricks, 0, GaussianOracle(points, a, v), CertificateSettings())])
    assert max(right) < limits(RenderSettings(tolerance=1e-4)).voxels


@pytest.mark.parametrize(("frames", "n", "expected"), [(8, 98, 8), (8, 3, 3), (1, 98, 1), ("all", 5, 5)])
def test_certified_frames_are_spread_from_first_to_last(frames, n, expected):
    chosen = certified_frames(CertificateSettings(frames=frames), n)
    assert len(chosen) == expected
    assert min(chosen) == 0
    assert max(chosen) == (n - 1 if expected > 1 else 0)
