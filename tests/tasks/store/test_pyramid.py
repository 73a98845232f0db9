"""Every level of the pyramid is the mean of the one before, at a cost that follows the molecule; and it is kept as safely."""

import os
import re
import shutil
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from cryovox.tasks.errors import Refusal, StoreDamage
from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.store import closing, ledger, template
from cryovox.tasks.store.atomic import Writer
from cryovox.tasks.store.findings import Cure, Finding, Kind
from cryovox.tasks.store.layout import StoreLayout, layout_of, plain_layout, read_layout
from cryovox.tasks.store.pyramid import first_centre, halved, level_grid
from cryovox.tasks.store.rounding import kept
from cryovox.tasks.store.scrub import Progress, scrub
from cryovox.tasks.store.verify import Count, ground, quick
from cryovox.tasks.values import Bricks, StoredFile


def bricked(volumes: np.ndarray, grid: VoxelGrid, past: float = 0.0) -> Bricks:
    """Those bricks of whole volumes that are not 0; `past`: what lies beyond the end of the array."""
    frames, indices, values, edge = [], [], [], grid.brick
    for frame, volume in enumerate(volumes):
        for place in np.ndindex(*grid.n_bricks):
            where = grid.brick_slices(place)
            if volume[where].any():
                brick = np.full((edge,) * 3, past, volumes.dtype)
                brick[tuple(slice(0, s.stop - s.start) for s in where)] = volume[where]
                frames.append(frame)
                indices.append(place)
                values.append(brick)
    stacked = np.array(values, volumes.dtype).reshape(-1, edge, edge, edge)
    return Bricks(len(volumes), np.array(frames, np.int64), np.array(indices, np.int64).reshape(-1, 3), stacked)


def oracle(volumes: np.ndarray) -> np.ndarray:
    """Sums of whole arrays that are padded with zeros, over how many voxels were there."""
    more = [(0, n % 2) for n in volumes.shape[1:]]
    shape = [pair for n in volumes.shape[1:] for pair in (-(-n // 2), 2)]
    total = np.pad(volumes.astype(float), [(0, 0), *more]).reshape(-1, *shape).sum(axis=(2, 4, 6))
    return total / np.pad(np.ones(volumes.shape[1:]), more).reshape(shape).sum(axis=(1, 3, 5))


@pytest.mark.parametrize(
    "shape", [(32, 32, 32), (31, 33, 40), (50, 25, 75), (37, 1, 20), (18, 17, 16), (64, 48, 32), (2, 3, 5), (1, 1, 1)]
)
@pytest.mark.parametrize("past", [0.0, 7.0])
def test_a_voxel_is_the_mean_of_those_below_it_that_are_there(shape, past):
    """Bricks of even and odd edges, extents that no brick divides; three levels, each of the one before."""
    rng, grid = np.random.default_rng(0), VoxelGrid(shape, 1.5)
    volumes = rng.normal(size=(2, *shape)).astype(np.float32)
    volumes[:, : shape[0] // 2, shape[1] // 3 :] = 0
    for _ in range(3):
        bricks = halved(bricked(volumes, grid, past), grid, "float32")
        grid = level_grid(grid, 1)
        volumes = oracle(volumes).astype(np.float32)
        assert bricks.values.dtype == np.float32
        assert bricks.values.shape[1:] == (grid.brick,) * 3
        np.testing.assert_array_max_ulp(bricks.dense(grid), volumes, 1)
        past = 0.0
        order = [(frame, *place) for frame, place in zip(bricks.frames.tolist(), bricks.indices.tolist(), strict=True)]
        assert order == sorted(set(order))


def test_a_constant_volume_stays_what_it_is():
    grid = VoxelGrid((31, 45, 20), 1.0)
    bricks = bricked(np.full((1, *grid.shape), 0.3, np.float32), grid)
    for level in (1, 2, 3, 4, 5, 6):
        bricks, grid = halved(bricks, grid, "float32"), level_grid(grid, 1)
        assert grid == level_grid(VoxelGrid((31, 45, 20), 1.0), level)
        assert (bricks.dense(grid) == np.float32(0.3)).all()


@pytest.mark.parametrize(("dtype", "keepbits"), [("float16", None), ("float32", 7), ("float16", 5)])
def test_means_are_rounded_as_voxels_are(dtype, keepbits):
    grid = VoxelGrid((20, 20, 20), 1.0)
    volumes = np.random.default_rng(1).normal(size=(1, 20, 20, 20)).astype(dtype)
    wanted = kept(oracle(volumes).astype(np.float32), dtype, keepbits)
    np.testing.assert_array_equal(halved(bricked(volumes, grid), grid, dtype, keepbits).dense(level_grid(grid, 1)), wanted)


@pytest.mark.parametrize("keepbits", [None, 1, 10, 22])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_frame_that_was_left_out_is_nan_at_every_level(dtype, keepbits):
    grid = VoxelGrid((31, 33, 40), 1.0)
    volumes = np.zeros((3, *grid.shape), dtype)
    volumes[1], volumes[2, 4, 4, 4] = np.nan, 8.0
    bricks = bricked(volumes, grid, np.nan)
    for level in (1, 2, 3):
        bricks, grid = halved(bricks, grid, dtype, keepbits), level_grid(grid, 1)
        dense = bricks.dense(grid)
        assert np.isnan(dense[1]).all()
        assert not np.isnan(dense[[0, 2]]).any()
        assert dense[2].max() == 8.0 / 8**level


def test_no_brick_makes_none():
    grid = VoxelGrid((64, 64, 64), 1.0)
    nothing = halved(bricked(np.zeros((3, 64, 64, 64), np.float32), grid), grid, "float32")
    assert (nothing.n_frames, nothing.values.shape, nothing.indices.shape) == (3, (0, 32, 32, 32), (0, 3))


def test_the_cost_follows_the_molecule():
    """Of a box of 4096³, which has 256 GB, eight bricks: as many become at most eight, and memory is theirs."""
    grid = VoxelGrid((4096, 4096, 4096), 1.0)
    places = np.array([(63 + z, 63 + y, 63 + x) for z in (0, 1) for y in (0, 1) for x in (0, 1)])
    bricks = Bricks(1, np.zeros(8, np.int64), places, np.ones((8, 32, 32, 32), np.float32))
    tracemalloc.start()
    try:
        for _ in range(6):
            bricks, grid = halved(bricks, grid, "float32"), level_grid(grid, 1)
            assert len(bricks.values) == 8
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 * bricks.values.nbytes


@pytest.mark.parametrize("n", [10, 31])
def test_a_voxel_lies_in_the_middle_of_those_below_it(n):
    grid = VoxelGrid((n, 32, 32), 1.25)
    centres = grid.coordinates(0)
    for level in (1, 2):
        whole = n // 2**level * 2**level  # the last of an odd axis reaches past the box
        middles = centres[:whole].reshape(-1, 2**level).mean(axis=1)
        coarse = first_centre(grid, level, 0) + level_grid(grid, level).voxel_size * np.arange(len(middles))
        np.testing.assert_allclose(coarse, middles, atol=1e-12)


@pytest.fixture(scope="module", params=["float32", "float16"])
def made(request, tmp_path_factory, layout, make_store) -> tuple[Path, StoreLayout, np.ndarray]:
    """A closed store with two levels. Not to be changed."""
    path, layout = tmp_path_factory.mktemp("made") / "a.zarr", replace(layout, dtype=request.param, pyramid=2)
    return path, layout, make_store(path, layout)


@pytest.fixture
def store(made, tmp_path) -> tuple[Path, StoreLayout]:
    """A copy, to be damaged."""
    return Path(shutil.copytree(made[0], tmp_path / "a.zarr")), made[1]


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def look(path: Path, deep: bool = False) -> list[Finding]:
    base = ground(path)
    found = list(quick(base, Count()))
    if deep:
        found += [one for each in scrub(path, base.layout, range(base.layout.n_shards), 2) for one in each.findings]
    return found


def flip(file: Path, place: int) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


def test_the_levels_of_a_store_are_the_means_of_its_volumes(made):
    path, layout, volumes = made
    root = zarr.open_group(path, mode="r")
    assert sorted(root["pyramid"]) == ["1", "2"]
    for level in layout.levels:
        volumes = oracle(volumes).astype(np.float32).astype(layout.dtype)
        array = root[level.node]
        assert array.shards == (layout.frames_per_shard, *level.shard_shape[1:])
        np.testing.assert_array_equal(array[:], volumes)
        assert not (path / level.node / layout.shard_key(5)).exists()  # two empty frames


def test_the_layout_with_its_levels_is_read_back_from_root_and_array(made):
    path, layout, _ = made
    assert read_layout(path)[0] == layout
    assert ground(path).layout == layout
    assert layout_of(plain_layout(layout)) == layout
    assert "pyramid" not in plain_layout(replace(layout, pyramid=0))


def test_a_store_with_levels_is_found_sound(made):
    path, layout, _ = made
    assert look(path) == []
    scrubbed = list(scrub(path, layout, range(1), 1))
    assert scrubbed[0].bytes_read == sum(array.shard_file(path, 0).stat().st_size for array in layout.arrays)
    assert [f.what for f in look(path, deep=True) if f.kind is not Kind.RECORD] == []


def test_all_bytes_of_a_shard_are_counted(made):
    path, layout, _ = made
    record = ledger.read(path, layout, 0)
    assert record is not None
    assert record.stored == sum(array.shard_file(path, 0).stat().st_size for array in layout.arrays)
    every = [file for array in layout.arrays for file in (path / array.node).glob("c.*")]
    assert ledger.survey(path, layout).size == ledger.stored_bytes(path, layout) == sum(f.stat().st_size for f in every)


DAMAGE: dict[str, tuple[Callable[[Path], object], bool]] = {
    "a bit of a brick": (lambda file: flip(file, 30), True),
    "a bit of the index": (lambda file: flip(file, -20), True),
    "truncated": (lambda file: os.truncate(file, file.stat().st_size - 1), False),
    "deleted": (lambda file: file.unlink(), False),
}
"""What is done to a file, and whether only its bytes tell."""


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_to_a_level_is_found_and_blamed_on_its_file(store, damage: str):
    path, layout = store
    do, hidden = DAMAGE[damage]
    for number, level in enumerate(layout.levels):
        do(level.shard_file(path, 17 + number))
    assert (look(path) == []) is hidden
    found = [finding for finding in look(path, deep=True) if finding.kind is Kind.SHARD]
    assert [(finding.path, finding.shard, finding.frames, finding.cure) for finding in found] == [
        ("pyramid/1/c.17.0.0.0", 17, (34, 35), Cure.REMAKE),
        ("pyramid/2/c.18.0.0.0", 18, (36, 37), Cure.REMAKE),
    ]


def test_a_run_makes_a_shard_anew_whose_level_is_not_what_its_record_says(store, do_shard):
    path, layout = store
    before = _tree(path)
    layout.levels[0].shard_file(path, 3).unlink()
    os.truncate(layout.levels[1].shard_file(path, 4), 10)
    todo, damaged = ledger.pending(path, layout)
    assert todo == sorted(damaged) == [3, 4]
    record = ledger.read(path, layout, 3)
    assert record is not None
    with pytest.raises(StoreDamage, match="not what its record says"):
        ledger.check_size(path, layout, record)
    for shard in todo:
        do_shard(path, layout, shard)
    assert _tree(path) == before


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("pyramid/1/c.34.0.0.0", Cure.REMOVE),
        ("pyramid/1/c.5.0.0.0", Cure.REMAKE),
        ("pyramid/3/zarr.json", Cure.ASIDE),
        ("pyramid/notes.txt", Cure.ASIDE),
        ("pyramid/1/c/0", Cure.ASIDE),
    ],
)
def test_what_nobody_knows_is_found_among_the_levels_too(store, name: str, cure: Cure):
    path, _ = store
    (path / name).parent.mkdir(parents=True, exist_ok=True)
    (path / name).write_bytes(b"?")
    (finding,) = look(path)
    assert name.startswith(finding.path)
    assert finding.cure is cure


def test_a_pyramid_in_a_store_that_has_none_is_a_stranger(tmp_path: Path, small: StoreLayout, make_store):
    path = tmp_path / "a.zarr"
    make_store(path, small)
    (path / "pyramid").mkdir()
    assert [(finding.path, finding.cure) for finding in look(path)] == [("pyramid", Cure.ASIDE)]


@pytest.mark.parametrize("name", ["pyramid/zarr.json", "pyramid/1/zarr.json", "pyramid/2/zarr.json"])
def test_metadata_of_a_level_are_vouched_for_and_renewed(store, name: str):
    path, layout = store
    before = _tree(path)
    assert name in read_layout(path)[1]["files"]
    for damage in (lambda file: file.unlink(), lambda file: file.write_bytes(file.read_bytes() + b" ")):
        damage(path / name)
        assert [(finding.path, finding.cure) for finding in look(path)] == [(name, Cure.RENEW)]
        template.renew(Writer.begin(path, "run"), template.Beginning(layout, {}))
        closing.finish(Writer.begin(path, "run"), layout)
        assert _tree(path) == before


def test_before_a_store_is_closed_a_level_of_another_shape_is_found(tmp_path: Path, small: StoreLayout):
    path = tmp_path / "a.zarr"
    template.create(Writer.begin(path, "run"), template.Beginning(replace(small, pyramid=1), {}))
    assert look(path) == []
    file = path / "pyramid" / "1" / "zarr.json"
    text = re.sub(r'"shape": \[\s*3,\s*16', '"shape": [ 3, 17', file.read_text())
    assert text != file.read_text()
    file.write_text(text)
    assert [(finding.path, finding.cure) for finding in look(path)] == [("pyramid/1/zarr.json", Cure.RENEW)]


def test_a_record_names_every_level_or_is_damaged(tmp_path: Path, small: StoreLayout, make_record):
    path, layout = tmp_path / "a.zarr", replace(small, pyramid=2)
    writer = Writer.begin(path, "run")
    template.create(writer, template.Beginning(layout, {}))
    files = tuple(StoredFile(10 + n, f"{n:064x}") for n in (1, 2))
    record = replace(make_record(layout, 0, 9, "a" * 64), levels=files)
    for wrong in ((), files[:1], (*files, files[0])):
        with pytest.raises(ValueError, match="levels"):
            ledger.commit(writer, layout, replace(record, levels=wrong))
    ledger.commit(writer, layout, record)
    assert ledger.read(path, layout, 0) == record
    with pytest.raises(StoreDamage, match="2 levels of a pyramid instead of 0"):
        ledger.read(path, replace(layout, pyramid=0), 0)


def test_a_record_of_six_levels_and_the_longest_reasons_has_room(tmp_path: Path, make_record):
    layout = StoreLayout(VoxelGrid((32,) * 3, 1.0), 1, "float32", pyramid=6)
    path, writer = tmp_path / "a.zarr", Writer.begin(tmp_path / "a.zarr", "run")
    template.create(writer, template.Beginning(layout, {}))
    files = tuple(StoredFile(2**62, "f" * 64) for _ in range(6))
    record = make_record(layout, 0, 2**62, "f" * 64, reason="ä" * 300, sum=-1.2345678901234567e-300, source_frame=2**62)
    ledger.commit(writer, layout, replace(record, levels=files, engine="numba-2026.11.22 nvcomp-zstd" * 4))
    assert ledger.read(path, layout, 0) is not None


def test_a_store_with_levels_grows(tmp_path: Path, small: StoreLayout, do_shard, make_store):
    path, writer, begun = tmp_path / "a.zarr", Writer.begin(tmp_path / "a.zarr", "run"), replace(small, pyramid=2)
    make_store(path, begun)
    grown = replace(begun, n_frames=5)
    closing.reopen(writer, but=["files"])
    template.renew(writer, template.Beginning(grown, {}))
    assert ledger.pending(path, grown) == ([3, 4], {})
    for shard in (3, 4):
        do_shard(path, grown, shard)
    closing.finish(writer, grown)
    whole = tmp_path / "b.zarr"
    make_store(whole, grown)
    assert _tree(path) == _tree(whole)
    assert [zarr.open_group(path, mode="r")[level.node].shape[0] for level in grown.levels] == [5, 5]


def test_a_pass_looks_again_at_a_level_that_changed(store, tmp_path: Path):
    path, layout = store
    (run := tmp_path / "run").mkdir()
    progress = Progress(run)
    for one in scrub(path, layout, range(4), 1):
        progress.add(replace(one, findings=()))
    file = layout.levels[1].shard_file(path, 2)
    file.with_name("new").write_bytes(file.read_bytes())
    file.with_name("new").replace(file)
    progress = Progress(run)
    assert [progress.has(path, layout, shard) for shard in range(4)] == [True, True, False, True]


def test_an_array_that_says_another_number_of_levels_is_of_another_store(store):
    path, _ = store
    file = path / "potential" / "zarr.json"
    file.write_text(file.read_text().replace('"pyramid": 2', '"pyramid": 3'))
    with pytest.raises(Refusal, match="another store"):
        read_layout(path)
    assert [(finding.path, finding.cure) for finding in look(path)] == [("potential/zarr.json", Cure.RENEW)]
