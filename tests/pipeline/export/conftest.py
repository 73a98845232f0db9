"""Two stores to export: a made-up one with labels, a skipped and a pending frame; and the quickstart's, with its atoms."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

H = 1.5
SHAPE = (9, 14, 11)
SKIPPED, PENDING = 2, 5


@dataclass(frozen=True, eq=False)
class Made:
    """A store and what must be in it."""

    path: Path
    volumes: np.ndarray
    """(t, z, y, x)"""
    voxel_size: float


def noise(shape, n: int) -> np.ndarray:
    values = np.random.default_rng(n).normal(size=(n, *shape)).astype(np.float32)
    values[:, :, :, 0] = 0
    return values


def write(path: Path, dtype: str = "float32", factor: float = 1.0, shape=SHAPE, until: int = 7) -> Made:
    from cryovox.tasks.grid import VoxelGrid
    from cryovox.tasks.store import ledger, template
    from cryovox.tasks.store.atomic import Writer
    from cryovox.tasks.store.layout import StoreLayout
    from cryovox.tasks.store.shard import write_shard
    from cryovox.tasks.values import Bricks, FrameRecord, FrameStatus, Label, Labels, ShardRecord

    layout = StoreLayout(VoxelGrid(shape, H), 7, dtype)
    values = (factor * noise(shape, 7)).astype(dtype)
    labels = Labels(
        (
            Label("state", np.array([0, 1, 0, 1, -1, 0, 1]), ("closed", "half open")),
            Label("weight", np.linspace(0.5, 2.0, 7)),
            Label("Volume", np.array([1.25, np.nan, 2, 3, 4, 5, 0.1])),
        )
    )
    writer = Writer.begin(path, "run")
    attributes = {"recipe": {}, "recipe_hash": "b3c4", "sources": [{"path": "a.xtc", "size": 5}]}
    template.create(writer, template.Beginning(layout, attributes, files=("a.xtc", "b.xtc"), labels=labels))
    edge = layout.grid.brick
    for frame in range(7):
        if frame == PENDING or frame >= until:
            continue
        there = frame != SKIPPED
        brick = np.zeros((int(there), edge, edge, edge), dtype)
        brick[:, : shape[0], : shape[1], : shape[2]] = values[frame]
        bricks = Bricks(1, np.zeros(int(there), np.int64), np.zeros((int(there), 3), np.int64), brick)
        size, digest = write_shard(writer, layout, frame, bricks)
        record = FrameRecord(
            FrameStatus.DONE if there else FrameStatus.SKIPPED,
            source=frame // 4,
            source_frame=10 * frame,
            time=0.1 * frame,
            rotation=((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1 / 3)),
            translation=(0.1 * frame, -2.0, 1e-30),
            sum=0.0,
            min=0.0,
            max=0.0,
            mass=1.0,
            scale=1.0,
            lost=0.0,
            reason="" if there else "atom 5 is at nan",
        )
        ledger.commit(writer, layout, ShardRecord(frame, frame, (record,), size, digest, "xla"))
    values[[SKIPPED, PENDING]] = 0
    return Made(path, values, H)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Made:
    """Seven frames of noise, of which one was skipped and one is pending; not to be changed."""
    return write(tmp_path_factory.mktemp("tiny") / "tiny.zarr")


@pytest.fixture(scope="session")
def tiny_of():
    """`tiny_of(path, dtype, factor, shape, until)`: such a store anew, of other voxels, another box or fewer frames."""
    return write


DONE = [0, 1, 3, 4, 6]
"""The frames of `tiny` that are there."""


@pytest.fixture(scope="session")
def done() -> list[int]:
    return DONE


@pytest.fixture(scope="session")
def draw(quickstart, share_decoder, carry_out):
    """`draw(store, shape, h)`: two frames of the quickstart far apart, drawn in this process; their volumes."""
    from cryovox.pipeline.documents.document import Document
    from cryovox.pipeline.documents.recipe import LoadedRecipe
    from cryovox.pipeline.documents.settings import validated
    from cryovox.pipeline.inputs import remember
    from cryovox.tasks.store.read import read_frames
    from cryovox.workflows.recipe import recipe_kind

    def make(store: Path, shape: list[int] | str, h: float) -> Made:
        plain = {
            "ensemble": {
                "topology": "adk.pdb",
                "coordinates": "adk.xtc",
                "select": "protein and not name H*",
                "align": {"select": "name CA"},
                "frames": {"start": 3, "step": 80},
            },
            "poses": {"random": True, "seed": 5},
            "scattering": {"b_factor": {"policy": "constant", "value": 10.0}},
            "grid": {"shape": shape, "voxel_size": h},
            "store": {"path": str(store)},
        }
        recipe = validated(recipe_kind(plain), Document("recipe.yaml", plain, {}))
        with pytest.MonkeyPatch.context() as patch:
            share_decoder(patch)
            carry_out(recipe, quickstart, store)
        remember(store, LoadedRecipe(recipe, "recipe.yaml", quickstart))
        return Made(store, read_frames(store, [0, 1]), h)

    return make
