"""A store whose metadata were lost, or whose ensemble has grown, gets those of a new one; and nothing changed is vouched for."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from cryovox.tasks.errors import StoreDamage
from cryovox.tasks.store import closing, ledger, template
from cryovox.tasks.store.atomic import Writer
from cryovox.tasks.store.layout import StoreLayout, read_layout
from cryovox.tasks.values import Label, Labels

LABELS = Labels((Label("state", np.array([1, -1, 0]), ("closed", "open")),))


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_renewed_store_is_as_it_was_begun_and_keeps_shards_and_records(tmp_path: Path, small: StoreLayout, do_shard):
    """Whatever of its metadata was lost or changed; once closed it is the same again, byte for byte."""
    path = tmp_path / "a.zarr"
    writer, beginning = Writer.begin(path, "run"), template.Beginning(small, {"recipe": "r"}, labels=LABELS)
    template.create(writer, beginning)
    for shard in range(3):
        do_shard(path, small, shard)
    closing.finish(writer, small)
    before = _tree(path)
    (path / "zarr.json").unlink()
    (path / "potential" / "zarr.json").write_bytes(b"{")
    (path / "z" / "c" / "0").write_bytes(b"rot")
    (path / "frame" / "state" / "c" / "0").unlink()
    (path / "frame" / "stray").mkdir()
    (path / "frame" / "stray" / "zarr.json").write_bytes(b"{}")
    for _ in range(2):
        template.renew(writer, beginning)
        assert read_layout(path)[1]["complete"] is False
    closing.finish(writer, small)
    assert _tree(path) == before


def test_a_renewed_store_may_hold_more_frames(tmp_path: Path, small: StoreLayout, do_shard):
    path, writer = tmp_path / "a.zarr", Writer.begin(tmp_path / "a.zarr", "run")
    template.create(writer, template.Beginning(small, {"recipe": "r"}))
    for shard in range(3):
        do_shard(path, small, shard)
    closing.finish(writer, small)
    grown = replace(small, n_frames=5)
    template.renew(writer, template.Beginning(grown, {"recipe": "r"}))
    assert read_layout(path)[0] == grown
    assert ledger.pending(path, grown) == ([3, 4], {})
    for shard in (3, 4):
        do_shard(path, grown, shard)
    closing.finish(writer, grown)
    assert zarr.open_group(path, mode="r")["potential"].shape[0] == 5
    assert zarr.open_group(path, mode="r")["frame/status"][:].tolist() == [1] * 5


@pytest.mark.parametrize("name", ["z/c/0", "potential/zarr.json", "frame/state/c/0", "frame/state/zarr.json"])
def test_a_file_that_has_changed_is_never_vouched_for(tmp_path: Path, small: StoreLayout, do_shard, name: str):
    path, writer = tmp_path / "a.zarr", Writer.begin(tmp_path / "a.zarr", "run")
    template.create(writer, template.Beginning(small, {}, labels=LABELS))
    for shard in range(3):
        do_shard(path, small, shard)
    closing.finish(writer, small)
    closing.finish(writer, small)
    file = path / name
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(StoreDamage, match="has changed") as caught:
        closing.finish(writer, small)
    assert str(file) in str(caught.value)


def test_a_root_that_has_changed_is_never_signed_again(tmp_path: Path, small: StoreLayout, do_shard):
    """Of the recipe, the sources and the versions there is no other copy."""
    path, writer = tmp_path / "a.zarr", Writer.begin(tmp_path / "a.zarr", "run")
    template.create(writer, template.Beginning(small, {"versions": {"numpy": "2.1.0"}}))
    for shard in range(3):
        do_shard(path, small, shard)
    closing.finish(writer, small)
    text = (path / "zarr.json").read_text()
    (path / "zarr.json").write_text(text.replace("2.1.0", "2.1.8"))
    for act in (lambda: closing.finish(writer, small), lambda: closing.reopen(writer)):
        with pytest.raises(StoreDamage, match="root of the store has changed"):
            act()
    (path / "zarr.json").write_text(text)
    closing.finish(writer, small)
    assert (path / "zarr.json").read_text() == text
    closing.reopen(writer)
    assert read_layout(path)[1]["complete"] is False
    closing.finish(writer, small)
    assert (path / "zarr.json").read_text() == text
