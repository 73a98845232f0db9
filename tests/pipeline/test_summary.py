"""The summary of a run says what a voxel is rounded to, and that the certificate's tolerance does not count it."""

from pathlib import Path

import numpy as np
import pytest

from cryovox.pipeline.making import Outcome, rounded
from cryovox.pipeline.skipped import Skipped
from cryovox.pipeline.summary import outcome_lines
from cryovox.tasks.ensemble.base import BadFrames
from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.store.layout import StoreLayout, StoreSettings
from cryovox.tasks.store.rounding import kept
from cryovox.workflows.proof import Certificate

PROOF = Certificate(1, 512, 2e-4, 3e-4, 1e-7, 0.0, 1e-5, 1e-4, "the direct sum")


def said(settings: StoreSettings) -> str:
    layout, store = StoreLayout(VoxelGrid((16, 16, 16), 1.0), 1, settings.dtype), Path("a.zarr")
    outcome = Outcome(store, layout, 1, PROOF, 1, 1, 1, 1.0, store, Skipped(1, BadFrames()), store, rounded=rounded(settings))
    return "\n".join(outcome_lines(outcome))


def test_nothing_is_said_where_nothing_is_rounded():
    assert "round" not in said(StoreSettings("a.zarr"))


@pytest.mark.parametrize(
    ("settings", "to"),
    [
        (StoreSettings("a.zarr", dtype="float16"), "float16: at most 4.9e-04"),
        (StoreSettings("a.zarr", keepbits=10), "float32, 10 bits of its mantissa: at most 4.9e-04"),
        (StoreSettings("a.zarr", dtype="float16", keepbits=7), "float16, 7 bits of its mantissa: at most 3.9e-03"),
    ],
)
def test_what_a_voxel_is_rounded_to_is_said_and_is_true(settings, to):
    text = said(settings)
    assert f"rounding     to {to} of a voxel's value" in text
    assert "asked for 1e-05, before it is rounded)" in text
    values = np.random.default_rng(0).uniform(1.0, 2.0, (3, 16, 16, 16)).astype(np.float32)
    errors = np.abs(kept(values, settings.dtype, settings.keepbits).astype(float) - values) / values
    bound = float(to.rpartition(" ")[2])
    assert 0.9 * bound < errors.max() < 1.01 * bound
