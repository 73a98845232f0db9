"""One finished store and one that was stopped half way, of a recipe with labels; and that recipe."""

from pathlib import Path

import numpy as np
import pytest
import zarr

RECIPE = """\
ensemble:
  {{topology: {data}/adk.pdb, coordinates: {data}/adk.xtc, select: name CA CB, frames: {{step: 4}}, align: {{select: name CA}}}}
labels: {{table: labels.csv}}
grid: {{voxel_size: 3.0, padding: 12.0, shape: {shape}}}
store: {{path: out.zarr}}
"""


@pytest.fixture(scope="session")
def kept_out_of_home(tmp_path_factory) -> Path:
    """Where surveys are remembered."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _at_home(kept_out_of_home, monkeypatch, one_decoder):
    monkeypatch.setenv("XDG_CACHE_HOME", str(kept_out_of_home))


@pytest.fixture(scope="session")
def folder(tmp_path_factory, inside, quickstart) -> Path:
    """Holds recipe.yaml, labels.csv and out.zarr: 25 frames in shards of one, and half.zarr, of which some records are gone."""
    import shutil

    from cryovox.tasks.store import closing, ledger
    from cryovox.tasks.store.atomic import Writer
    from cryovox.tasks.store.layout import read_layout

    made = tmp_path_factory.mktemp("open")
    made.joinpath("recipe.yaml").write_text(RECIPE.format(data=quickstart, shape="[30, 32, 36]"))
    rows = "\n".join(f"{'open' if n > 60 else 'closed' if n else ''},{n / 97:.3f},{n},{n % 3},{n}" for n in range(0, 98, 4))
    made.joinpath("labels.csv").write_text(f"state,reaction,frame,potential,volume\n{rows}\n")
    done = inside("run", "recipe.yaml", "--cluster-set", "workers=1", cwd=made)
    assert done.returncode == 0, done.stderr
    shutil.copytree(made / "out.zarr", made / "half.zarr")
    writer = Writer.begin(made / "half.zarr", "test")
    closing.reopen(writer)
    layout, _ = read_layout(made / "half.zarr")
    for shard in (3, 7, 24):
        ledger.withdraw(writer, layout, shard)
    return made


@pytest.fixture(scope="session")
def dense(folder) -> np.ndarray:
    """The finished store's voxels, by zarr-python."""
    return np.asarray(zarr.open_array(folder / "out.zarr" / "potential", mode="r")[:])
