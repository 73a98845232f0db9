"""Every way in which a store can be damaged is found, by the file that is damaged; a sound store is found sound."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cryovox.tasks.errors import Refusal
from cryovox.tasks.store import closing, ledger, template
from cryovox.tasks.store.atomic import Writer
from cryovox.tasks.store.findings import Cure, Finding, Kind
from cryovox.tasks.store.layout import StoreLayout
from cryovox.tasks.store.scrub import Progress, scrub
from cryovox.tasks.store.shard import write_shard
from cryovox.tasks.store.verify import Count, ground, quick
from cryovox.tasks.values import Bricks, FrameStatus, Label, Labels

EMPTY, SKIPPED = 5, 24
"""Shards: of two empty frames, and with a frame that was left out."""
LAST = 33
N_BRICKS = 8
LABELS = Labels((Label("state", np.arange(67) % 3 - 1, ("closed", "open")), Label("cv", np.linspace(0, 1, 67))))


def _left_out(bricks: Bricks, layout: StoreLayout) -> Bricks:
    """The second frame is NaN everywhere."""
    places, edge = np.array(list(np.ndindex(*layout.grid.n_bricks))), layout.grid.brick
    one = bricks.of(0)
    return Bricks(
        2,
        np.array([0] * len(one.values) + [1] * len(places)),
        np.concatenate([one.indices, places]),
        np.concatenate([one.values, np.full((len(places), edge, edge, edge), np.nan, np.float32)]),
    )


@pytest.fixture(scope="module")
def make(make_bricks, make_record) -> Callable[[Path, StoreLayout, int], None]:
    """A shard with a record of what is in it, counted from the whole box."""

    def work(path: Path, layout: StoreLayout, shard: int) -> None:
        bricks, writer = make_bricks(layout, shard), Writer.begin(path, "run")
        if shard == SKIPPED:
            bricks = _left_out(bricks, layout)
        record = make_record(layout, shard, *write_shard(writer, layout, shard, bricks))
        frames = []
        for frame, volume in zip(record.frames, bricks.dense(layout.grid).astype(layout.dtype), strict=True):
            skipped = bool(np.isnan(volume).all())
            facts = {"sum": float(volume.sum(dtype=float)), "min": float(volume.min()), "max": float(volume.max())}
            status = {"status": FrameStatus.SKIPPED, "reason": "adk.xtc, frame 7: torn"} if skipped else {}
            frames.append(replace(frame, **facts, **status))
        ledger.commit(writer, layout, replace(record, frames=tuple(frames)))

    return work


@pytest.fixture(scope="module", params=["float32"])
def sound(request, tmp_path_factory, layout, make) -> tuple[Path, StoreLayout]:
    """A closed store of 34 shards. Not to be changed."""
    path, layout = tmp_path_factory.mktemp("sound") / "a.zarr", replace(layout, dtype=request.param)
    template.create(Writer.begin(path, "run"), template.Beginning(layout, {"recipe": "r"}, labels=LABELS))
    for shard in range(layout.n_shards):
        make(path, layout, shard)
    closing.finish(Writer.begin(path, "run"), layout, {"certificate": {"frames": 0}})
    shutil.rmtree(path.with_name("a.zarr.run"))
    return path, layout


@pytest.fixture
def store(sound, tmp_path) -> tuple[Path, StoreLayout]:
    """A copy, to be damaged."""
    return Path(shutil.copytree(sound[0], tmp_path / "a.zarr")), sound[1]


def look(path: Path, deep: bool = False, running: bool = False) -> list[Finding]:
    base = ground(path)
    found = list(quick(base, Count(), running))
    if deep:
        found += [one for each in scrub(path, base.layout, range(base.layout.n_shards), 2) for one in each.findings]
    return found


def flip(file: Path, place: int, bit: int = 0) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 1 << bit
    file.write_bytes(data)


@pytest.mark.parametrize("sound", ["float32", "float16"], indirect=True)
def test_a_sound_store_is_found_sound(sound):
    path, layout = sound
    base, count = ground(path), Count()
    assert list(quick(base, count)) == []
    assert (count.frames[FrameStatus.DONE], count.frames[FrameStatus.SKIPPED], sum(count.frames.values())) == (66, 1, 67)
    scrubbed = list(scrub(path, layout, range(layout.n_shards), 2))
    assert [one for each in scrubbed for one in each.findings] == []
    assert sum(each.bytes_read for each in scrubbed) == ledger.stored_bytes(path, layout)


SHARD_DAMAGE: dict[str, tuple[Callable[[Path], None], bool]] = {
    "a bit of a brick": (lambda file: flip(file, 40), True),
    "a bit of the index": (lambda file: flip(file, -30, 3), True),
    "a bit of the index's checksum": (lambda file: flip(file, -1, 7), True),
    "zeros of its size": (lambda file: file.write_bytes(bytes(file.stat().st_size)) and None, True),
    "truncated": (lambda file: os.truncate(file, file.stat().st_size - 1), False),
    "nothing of it": (lambda file: os.truncate(file, 0), False),
    "longer": (lambda file: file.write_bytes(file.read_bytes() + b"\0") and None, False),
    "deleted": (lambda file: file.unlink(), False),
    "a folder": (lambda file: (file.unlink(), file.mkdir())[0], False),
}
"""What is done to the file, and whether only its bytes tell."""


@pytest.mark.parametrize("damage", SHARD_DAMAGE)
def test_damage_to_a_shard_is_found_and_blamed_on_it(store, damage: str):
    path, layout = store
    shards = [0, 17, SKIPPED, LAST]
    do, hidden = SHARD_DAMAGE[damage]
    for shard in shards:
        do(layout.shard_file(path, shard))
    assert (look(path) == []) is hidden
    of_shards = [finding for finding in look(path, deep=True) if finding.kind is not Kind.STRANGER]
    assert [(finding.kind, finding.shard, finding.cure) for finding in of_shards] == [
        (Kind.SHARD, shard, Cure.REMAKE) for shard in shards
    ]
    assert [finding.frames for finding in of_shards] == [(0, 1), (34, 35), (48, 49), (66, 66)]
    assert of_shards[1].path == "potential/c.17.0.0.0"


@pytest.mark.parametrize("data", [b"", b"\0" * 2000])
def test_a_file_of_a_shard_that_is_empty_is_found(store, data: bytes):
    path, layout = store
    layout.shard_file(path, EMPTY).write_bytes(data)
    assert [(finding.kind, finding.shard) for finding in look(path)] == [(Kind.SHARD, EMPTY)]


def test_two_shards_that_changed_places_are_found(store):
    path, layout = store
    files = [layout.shard_file(path, shard) for shard in (3, 20)]
    a, b = (file.read_bytes() for file in files)
    files[0].write_bytes(b)
    files[1].write_bytes(a)
    assert {finding.shard for finding in look(path, deep=True)} == {3, 20}


RECORD_DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda data: data[:-1],
    "empty": lambda data: b"",
    "zeros": lambda data: bytes(len(data)),
    "no JSON": lambda data: b"[" + data[1:],
    "another sum": lambda data: re.sub(rb'"sum":[^,}]*', b'"sum":1.5', data, count=1),
    "another status": lambda data: data.replace(b'"status":"done"', b'"status":"failed"', 1),
    "another time": lambda data: re.sub(rb'"time":1', b'"time":2', data, count=1),
    "another pose": lambda data: data.replace(b"-2.0", b"-3.0", 1),
    "another digest": lambda data: re.sub(rb'"sha256":"(.)', lambda m: b'"sha256":"' + (b"1" if m[1] == b"0" else b"0"), data),
    "a size in the same file": lambda data: re.sub(rb'"size":\d', b'"size":9', data, count=1),
}


@pytest.mark.parametrize("damage", RECORD_DAMAGE)
def test_damage_to_a_record_is_found(store, damage: str):
    path, layout = store
    for shard in (0, 17, LAST):
        file = layout.record_file(path, shard)
        data = file.read_bytes()
        changed = RECORD_DAMAGE[damage](data)
        if damage.startswith("another"):
            changed = changed.rstrip().ljust(len(data) - 1) + b"\n"
        assert changed != data
        file.write_bytes(changed)
    found = look(path, deep=True)
    assert {finding.shard for finding in found} == {0, 17, LAST}
    assert {finding.cure for finding in found} == {Cure.REMAKE}


def test_records_that_changed_places_are_found(store):
    path, layout = store
    a, b = (layout.record_file(path, shard) for shard in (1, 2))
    one, other = a.read_bytes(), b.read_bytes()
    a.write_bytes(other)
    b.write_bytes(one)
    assert {finding.shard for finding in look(path)} == {1, 2}


def test_a_record_that_is_gone_is_damage_only_of_a_store_that_says_it_is_complete(store):
    path, layout = store
    layout.record_file(path, 8).unlink()
    assert [(finding.kind, finding.shard) for finding in look(path, deep=True)] == [(Kind.RECORD, 8)]
    assert look(path, running=True) == []


def test_a_changed_sum_is_found_before_a_store_is_closed(begun, layout, make):
    """By the voxels alone."""
    for shard in (0, EMPTY, SKIPPED, LAST):
        make(begun, layout, shard)
    base, count = ground(begun), Count()
    assert list(quick(base, count)) == []
    assert count.unfinished == 30
    assert count.frames[FrameStatus.PENDING] == 60
    assert look(begun, deep=True) == []
    for shard in (0, LAST):
        file = layout.record_file(begun, shard)
        for name in ("sum", "min", "max"):
            data = file.read_bytes()
            file.write_bytes(
                re.sub(rf'"{name}":([^,}}]*)'.encode(), f'"{name}":0.25'.encode(), data).rstrip().ljust(len(data) - 1) + b"\n"
            )
            assert [(finding.kind, finding.shard) for finding in look(begun, deep=True)] == [(Kind.RECORD, shard)]
            file.write_bytes(data)


def small_files() -> list[str]:
    arrays = ["t", "x", "frame/status", "frame/rotation", "frame/state", "frame/cv"]
    nodes = ["potential", "ledger", "frame", "frame/translation", *arrays]
    chunks = [f"{name}/c/0/0/0" if name == "frame/rotation" else f"{name}/c/0" for name in arrays]
    return [*(f"{node}/zarr.json" for node in nodes), *chunks, "zarr.json"]


@pytest.mark.parametrize("damage", ["deleted", "truncated", "a bit", "a blank more", "a link"])
def test_damage_to_any_small_file_is_found_and_blamed_on_it(store, damage: str):
    path, _ = store
    for name in small_files():
        file = path / name
        data = file.read_bytes()
        match damage:
            case "deleted":
                file.unlink()
            case "truncated":
                os.truncate(file, file.stat().st_size // 2)
            case "a bit":
                flip(file, 12, 2)
            case "a blank more":
                file.write_bytes(data + b" ")
            case "a link":
                file.replace(path.parent / "elsewhere")
                file.symlink_to(path.parent / "elsewhere")
        found = look(path)
        assert name in {finding.path for finding in found if finding.cure is Cure.RENEW}
        assert {finding.path for finding in found} == {name}
        file.unlink(missing_ok=True)
        file.write_bytes(data)


def test_any_bit_of_the_root_that_is_not_free_text_is_found(sound, tmp_path):
    """What the root says of OME, layout and files follows from the rest of the store."""
    path = Path(shutil.copytree(sound[0], tmp_path / "a.zarr"))
    data = (path / "zarr.json").read_bytes()
    free = [data.index(word) for word in (b'"recipe"', b'"certificate"')]
    ends = [data.index(b"\n", free[0]), data.index(b"}", free[1])]
    schema = data.index(b'"schema": 4') + len(b'"schema": ')
    places = [
        n
        for n in range(0, len(data), len(data) // 40)
        if not any(a <= n <= b for a, b in zip(free, ends, strict=True)) and n != schema
    ]
    for place in places:
        flip(path / "zarr.json", place, place % 7)
        assert look(path), data[place - 20 : place + 20]
        (path / "zarr.json").write_bytes(data)


def test_a_root_of_another_store_is_told_from_an_array_of_another(store, small, tmp_path):
    path, _ = store
    other = tmp_path / "other.zarr"
    template.create(Writer.begin(other, "run"), template.Beginning(small, {}))
    array = path / "potential" / "zarr.json"
    kept = array.read_bytes()
    shutil.copy(other / "potential" / "zarr.json", array)
    assert [(finding.kind, finding.path) for finding in look(path)] == [(Kind.METADATA, "potential/zarr.json")]
    array.write_bytes(kept)
    shutil.copy(other / "zarr.json", path / "zarr.json")
    assert ("zarr.json", Cure.RENEW) in {(finding.path, finding.cure) for finding in look(path)} | {
        (finding.path, finding.cure) for finding in ground(path).findings
    }


def test_without_root_and_array_it_is_no_store(store):
    path, _ = store
    (path / "zarr.json").unlink()
    (path / "potential" / "zarr.json").write_bytes(b"{}")
    with pytest.raises(Refusal, match="not a cryovox store"):
        ground(path)


STRANGERS = {
    "potential/c.34.0.0.0": Cure.REMOVE,
    "ledger/c.1000.0": Cure.REMOVE,
    "potential/c.3.0.0.0.partial": Cure.ASIDE,
    "potential/c.03.0.0.0": Cure.ASIDE,
    "ledger/c/0/0": Cure.ASIDE,
    "notes.txt": Cure.ASIDE,
    ".zattrs": Cure.ASIDE,
    "frame/extra/zarr.json": Cure.ASIDE,
    "z/c/1": Cure.ASIDE,
    "more/of/them": Cure.ASIDE,
}


@pytest.mark.parametrize("name", STRANGERS)
def test_what_nobody_knows_is_found(store, name: str):
    path, _ = store
    (path / name).parent.mkdir(parents=True, exist_ok=True)
    (path / name).write_bytes(b"?")
    (finding,) = look(path)
    assert finding.kind is Kind.STRANGER
    assert finding.cure is STRANGERS[name]
    assert name.startswith(finding.path)


def test_links_pipes_and_folders_are_never_opened(store):
    path, layout = store
    shard, record = layout.shard_file(path, 4), layout.record_file(path, 6)
    shard.rename(path.parent / "elsewhere")
    shard.symlink_to(path.parent / "elsewhere")
    record.unlink()
    os.mkfifo(record)
    os.mkfifo(path / "frame" / "pipe")
    found = look(path, deep=True)
    strangers = {finding.path for finding in found if finding.kind is Kind.STRANGER}
    assert strangers == {f"potential/{shard.name}", f"ledger/{record.name}", "frame/pipe"}
    assert {(finding.kind, finding.shard) for finding in found if finding.shard is not None} == {
        (Kind.SHARD, 4),
        (Kind.RECORD, 6),
    }


def test_a_pass_goes_on_where_it_was_and_looks_again_at_what_changed(store):
    path, layout = store
    run = path.with_name("a.zarr.run")
    run.mkdir()
    flip(layout.shard_file(path, 2), 40)
    progress = Progress(run)
    for one in scrub(path, layout, range(20), 2):
        progress.add(one)
    with (run / "verify.jsonl").open("a") as file:
        file.write('\n{"shard": 21, "rec')  # killed in the midst of a line
    progress = Progress(run)
    good = [shard for shard in range(layout.n_shards) if progress.has(path, layout, shard)]
    assert good == [shard for shard in range(20) if shard != 2]  # damage is never remembered as good
    file = layout.shard_file(path, 7)
    file.with_name("new").write_bytes(file.read_bytes())
    file.with_name("new").replace(file)
    record = layout.record_file(path, 8)
    record.write_bytes(json.dumps(json.loads(record.read_bytes())).encode())
    layout.shard_file(path, 9).unlink()
    again = [shard for shard in good if not progress.has(path, layout, shard)]
    assert again == [7, 8, 9]
    progress.end()
    assert len(Progress(run)) == 0


def test_looking_changes_nothing(sound):
    path, _ = sound
    before = {p: (p.stat().st_mtime_ns, hashlib.sha256(p.read_bytes()).digest()) for p in path.rglob("*") if p.is_file()}
    look(path, deep=True)
    assert before == {p: (p.stat().st_mtime_ns, hashlib.sha256(p.read_bytes()).digest()) for p in path.rglob("*") if p.is_file()}
    assert not path.with_name("a.zarr.run").exists()
