"""Stores that earlier versions of this program wrote, kept as they were: refused with the reason, or read and continued."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
import zarr

from cryovox.tasks.errors import Refusal
from cryovox.tasks.store import ledger
from cryovox.tasks.store.atomic import Writer
from cryovox.tasks.store.layout import SCHEMA, read_layout
from cryovox.tasks.store.scrub import scrub
from cryovox.tasks.store.verify import Count, ground, quick

KEPT = Path(__file__).parents[2] / "data" / "stores"


@pytest.fixture
def kept(tmp_path):
    """The store of a schema: three frames of forty Cα atoms, 6 Å a voxel, made by the command of its day."""

    def store(schema: int) -> Path:
        with tarfile.open(KEPT / f"schema-{schema}.tar.gz") as archive:
            archive.extractall(tmp_path, filter="data")
        return tmp_path / f"schema-{schema}.zarr"

    return store


def test_one_store_of_each_schema_is_kept():
    assert sorted(file.name for file in KEPT.iterdir()) == [f"schema-{n}.tar.gz" for n in range(1, SCHEMA + 1)]


@pytest.mark.parametrize("schema", range(1, SCHEMA))
def test_an_older_schema_is_told_what_it_is_and_what_to_do(kept, schema: int):
    """Of the first, shards lay in folders and would be taken for missing; the second's records name no file of frames; the
    third's lie in folders of their own."""
    store = kept(schema)
    with pytest.raises(Refusal, match="earlier cryovox") as caught:
        read_layout(store)
    (problem,) = caught.value.problems
    assert (problem.where, problem.got, problem.wanted) == (str(store), f"schema {schema}", f"schema {SCHEMA}")
    assert "store.path" in problem.fix
    assert "any Zarr reader" in problem.fix


def test_any_zarr_reader_reads_the_same_of_all_of_them(kept):
    """As the refusal says; the same frames were drawn each time."""
    volumes = [zarr.open_group(kept(schema), mode="r")["potential"][:] for schema in range(1, SCHEMA + 1)]
    assert volumes[0].shape[0] == 3
    for other in volumes[1:]:
        np.testing.assert_allclose(other, volumes[0], atol=1e-5 * np.abs(volumes[0]).max())


def test_the_store_of_this_schema_is_sound_to_the_last_byte(kept):
    base = ground(kept(SCHEMA))
    assert list(quick(base, Count())) == []
    looked = list(scrub(base.path, base.layout, range(base.layout.n_shards), 1))
    assert [finding for one in looked for finding in one.findings] == []
    assert all(one.key is not None for one in looked)


def test_its_records_would_be_written_today_as_they_were(kept):
    """Byte for byte: what records have learned to say since is said only where it is needed."""
    store = kept(SCHEMA)
    layout, _ = read_layout(store)
    for shard in range(layout.n_shards):
        file = layout.record_file(store, shard)
        before, record = file.read_bytes(), ledger.read(store, layout, shard)
        assert record is not None
        file.unlink()
        ledger.commit(Writer.begin(store, "run"), layout, record)
        assert file.read_bytes() == before
