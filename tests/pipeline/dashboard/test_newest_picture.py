"""The picture of a run is its newest frame that is done, made small without a change of what it sums to."""

import io

import numpy as np
import pytest
from matplotlib.image import imread

from cryovox.pipeline.dashboard.feed import PIXELS, newest_picture, small


def test_the_newest_frame_that_is_done_is_the_picture(tmp_path, two_frames):
    projection = two_frames(tmp_path / "a.zarr")
    frame, png = newest_picture(tmp_path / "a.zarr", 0)
    assert frame == 1
    seen = imread(io.BytesIO(png), format="png")[..., 0]
    darkness = (seen.max() - seen) / np.ptp(seen)
    assert np.corrcoef(darkness[::-1].ravel(), projection.ravel())[0, 1] > 0.999  # y upwards, dark where there is matter
    assert newest_picture(tmp_path / "a.zarr", 5) is None  # not made yet


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (128, 128), (129, 40), (256, 256), (300, 1000)])
def test_a_small_picture_keeps_means_and_sum(shape):
    k = -(-max(shape) // PIXELS)
    projection = np.random.default_rng(0).random(shape)
    image = small(projection)
    assert max(image.shape) <= PIXELS
    assert image.shape == tuple(-(-n // k) for n in shape)
    assert image.sum() * k * k == pytest.approx(projection.sum())
    assert image[0, 0] == pytest.approx(projection[:k, :k].sum() / k**2)
    projection[0, 0] = np.nan
    assert np.isfinite(small(projection)).all()
