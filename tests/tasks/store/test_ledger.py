"""The ledger: exact, readable, atomic; and no frame without a name."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from cryovox.tasks.errors import StoreDamage
from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.store import ledger, template
from cryovox.tasks.store.atomic import Writer
from cryovox.tasks.store.layout import StoreLayout
from cryovox.tasks.values import Accuracy, FrameRecord, FrameStatus, ShardRecord

numbers = st.floats(allow_nan=False)
triples = st.tuples(numbers, numbers, numbers)
counts = st.integers(-(2**63), 2**63 - 1)
# values, not records: beartype draws random items of a tuple when a record is made, which Hypothesis forbids in a strategy
frame_fields = st.fixed_dictionaries(
    {
        "status": st.sampled_from(FrameStatus),
        "source": counts,
        "source_frame": counts,
        "rotation": st.tuples(triples, triples, triples),
        "translation": triples,
        "reason": st.text(st.characters(codec="utf-8"), max_size=60),
        **dict.fromkeys(("time", "sum", "min", "max", "mass", "scale", "lost"), numbers),
    }
)
accuracy_fields = st.none() | st.tuples(numbers, numbers, numbers, numbers, counts)
ONE = StoreLayout(VoxelGrid((31, 33, 40), 1.25), 1, "float32")


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Path:
    """A store of one frame."""
    path = tmp_path_factory.mktemp("ledger") / "a.zarr"
    template.create(Writer.begin(path, "run"), template.Beginning(ONE, {}))
    return path


@settings(max_examples=60, deadline=None)
@given(frame_fields, accuracy_fields)
def test_a_record_comes_back_to_the_last_bit(one: Path, fields: dict, accuracy: tuple | None):
    frame = FrameRecord(**fields, accuracy=Accuracy(*accuracy) if accuracy else None)
    record = ShardRecord(0, 0, (frame,), 12345, "ab" * 32, "xla")
    ledger.commit(Writer.begin(one, "run"), ONE, record)
    found = ledger.read(one, ONE, 0)
    assert found == record
    assert repr(found) == repr(record)  # -0.0 == 0.0, but its repr tells


def test_numbers_that_are_not_finite_come_back(one: Path, make_record):
    record = make_record(ONE, 0, 1, "", time=math.nan, min=-math.inf, max=math.inf)
    ledger.commit(Writer.begin(one, "run"), ONE, record)
    assert repr(ledger.read(one, ONE, 0)) == repr(record)
    text = ONE.record_file(one, 0).read_text()
    assert json.loads(text, parse_constant=pytest.fail)["frames"][0]["time"] == "nan"


def test_a_skipped_frame_comes_back(one: Path, make_record):
    """It has no statistics and no pose, but a place in its file and a reason."""
    nothing = dict.fromkeys(("sum", "min", "max", "mass", "scale", "lost"), math.nan)
    pose = {"rotation": ((math.nan,) * 3,) * 3, "translation": (math.nan,) * 3}
    told = {
        "status": FrameStatus.SKIPPED,
        "source": 2,
        "source_frame": 7,
        "time": math.nan,
        "reason": "b.xtc: atom 3 is not finite",
    }
    record = make_record(ONE, 0, 0, "", **nothing, **pose, **told)
    ledger.commit(Writer.begin(one, "run"), ONE, record)
    found = ledger.read(one, ONE, 0)
    assert repr(found) == repr(record)  # NaN is not NaN, but its repr tells
    assert found is not None
    assert found.frames[0].mass_error(1.25) is None
    survey = ledger.survey(one, ONE)
    assert survey.frames[FrameStatus.SKIPPED] == 1
    assert survey.reasons == [(0, FrameStatus.SKIPPED, "b.xtc: atom 3 is not finite")]


def test_numpy_numbers_are_written_like_pythons(one: Path, make_record):
    ledger.commit(Writer.begin(one, "run"), ONE, make_record(ONE, 0, 1, ""))
    plain = ONE.record_file(one, 0).read_bytes()
    frame = make_record(ONE, 0, 1, "").frames[0]
    frame = replace(frame, time=np.float64(frame.time), sum=np.float64(frame.sum), max=np.float64(frame.max))
    ledger.commit(Writer.begin(one, "run"), ONE, ShardRecord(0, 0, (frame,), 1, "", "xla"))
    assert ONE.record_file(one, 0).read_bytes() == plain


@pytest.mark.parametrize("character", ["x", "Å", "\n", "\x00", "𝄞", "\udcff", '"'])
@pytest.mark.parametrize("n_frames", [1, 67, 1000, 2_000_000])
def test_the_longest_record_fits(tmp_path: Path, character: str, n_frames: int, make_record):
    """Every number at its longest, every reason far too long, in shards of 1, 2, 16 and 20 frames."""
    layout = StoreLayout(VoxelGrid((32,) * 3, 1.0), n_frames, "float32")
    (tmp_path / "ledger").mkdir()
    long = -1.2345678901234567e-300
    changes = dict.fromkeys(("time", "sum", "min", "max", "mass", "lost"), long)
    changes |= {"rotation": ((long,) * 3,) * 3, "translation": (long,) * 3, "reason": character * 1000}
    changes |= dict.fromkeys(("source", "source_frame"), -(2**63))
    changes["accuracy"] = Accuracy(long, long, long, long, 2**62)
    ledger.commit(Writer.begin(tmp_path, "run"), layout, make_record(layout, 0, 2**62, "f" * 64, **changes))
    data = layout.record_file(tmp_path, 0).read_bytes()
    assert len(data) == layout.record_bytes
    found = ledger.read(tmp_path, layout, 0)
    assert found is not None
    reason = found.frames[-1].reason
    assert 60 <= len(reason) <= 300
    if character != "\udcff":
        assert set(reason) == {character}


def test_a_record_is_a_line_that_a_person_can_read(begun: Path, layout: StoreLayout, do_shard):
    do_shard(begun, layout, 3)
    text = layout.record_file(begun, 3).read_text()
    assert re.match(r'\{"crc32c":"[0-9a-f]{8}","engine":"xla","first_frame":6,"frames":\[\{"accuracy":null,', text)
    assert text.endswith(" \n")
    assert json.loads(text)["frames"][1]["status"] == "done"


def test_zarr_reads_the_ledger_as_rows(begun: Path, layout: StoreLayout, do_shard):
    do_shard(begun, layout, 3)
    rows = zarr.open_group(begun, mode="r")["ledger"][:]
    assert rows.shape == (layout.n_shards, layout.record_bytes)
    assert rows[3].tobytes() == layout.record_file(begun, 3).read_bytes()
    assert not rows[[0, 1, 2, 4]].any()


def test_without_a_record_everything_is_pending(begun: Path, layout: StoreLayout):
    assert ledger.read(begun, layout, 0) is None
    assert list(ledger.records(begun, layout)) == []
    assert ledger.pending(begun, layout) == (list(range(34)), {})
    assert ledger.survey(begun, layout).frames == {0: 67, 1: 0, 2: 0, 3: 0}


def test_records_come_in_the_order_of_their_shards(begun: Path, layout: StoreLayout, do_shard):
    for shard in (33, 4, 10, 2):
        do_shard(begun, layout, shard)
    assert [record.shard for record in ledger.records(begun, layout)] == [2, 4, 10, 33]


def test_a_shard_written_but_not_committed_is_pending(begun: Path, layout: StoreLayout, do_shard):
    do_shard(begun, layout, 1)
    layout.record_file(begun, 1).unlink()
    todo, damaged = ledger.pending(begun, layout)
    assert todo == list(range(34))
    assert damaged == {}


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def _scramble(file: Path) -> None:
    file.write_bytes(b"\xff" * file.stat().st_size)


def _list(file: Path) -> None:
    file.write_bytes(b"[]".ljust(file.stat().st_size))


def _frame_missing(file: Path) -> None:
    record = json.loads(file.read_text())
    del record["frames"][1]
    file.write_bytes(json.dumps(record).encode().ljust(file.stat().st_size))


def _unknown_state(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b'"done"', b'"nice"'))


@pytest.mark.parametrize("damage", [_truncate, _scramble, _list, _frame_missing, _unknown_state])
def test_a_damaged_record_is_named_and_its_shard_made_again(begun: Path, layout: StoreLayout, do_shard, damage):
    do_shard(begun, layout, 0)
    do_shard(begun, layout, 1)
    file = layout.record_file(begun, 1)
    damage(file)
    with pytest.raises(StoreDamage, match=r"record of shard 1 is damaged") as caught:
        ledger.read(begun, layout, 1)
    assert caught.value.problem.where == str(file)
    assert caught.value.problem.fix
    todo, damaged = ledger.pending(begun, layout)
    assert todo == list(range(1, 34))
    assert list(damaged) == [1]
    do_shard(begun, layout, 1)
    assert ledger.pending(begun, layout) == (list(range(2, 34)), {})


def test_no_bit_of_a_record_changes_unseen(begun: Path, layout: StoreLayout, do_shard):
    """Most of a record is numbers, of which any other is a number too."""
    do_shard(begun, layout, 1)
    file = layout.record_file(begun, 1)
    whole = file.read_bytes()
    for bit in np.random.default_rng(0).choice(8 * len(whole), 400, replace=False).tolist():
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        file.write_bytes(data)
        with pytest.raises(StoreDamage):
            ledger.read(begun, layout, 1)


def test_a_record_in_anothers_place_is_damage(begun: Path, layout: StoreLayout, do_shard):
    do_shard(begun, layout, 0)
    do_shard(begun, layout, 1)
    layout.record_file(begun, 1).write_bytes(layout.record_file(begun, 0).read_bytes())
    with pytest.raises(StoreDamage, match="shard 1"):
        ledger.read(begun, layout, 1)


@pytest.mark.parametrize("shard", [2, 5])
@pytest.mark.parametrize("data", [None, b"torn"])
def test_a_shard_that_is_not_as_long_as_recorded_is_made_again(begun: Path, layout: StoreLayout, do_shard, shard: int, data):
    """Shard 5 is empty: there a file is the damage, and its absence is right."""
    do_shard(begun, layout, shard)
    file = layout.shard_file(begun, shard)
    file.unlink(missing_ok=True)
    if data is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    todo, damaged = ledger.pending(begun, layout)
    wrong = not (shard == 5 and data is None)
    assert (shard in todo) == (shard in damaged) == wrong
    assert sum(ledger.survey(begun, layout).frames.values()) == 67


def test_the_survey_names_every_frame(begun: Path, layout: StoreLayout, do_shard, make_record):
    do_shard(begun, layout, 0)
    do_shard(begun, layout, 33)
    record = make_record(layout, 1, 0, "")
    bad = replace(record.frames[0], status=FrameStatus.SKIPPED, reason="not finite")
    failed = replace(record.frames[1], status=FrameStatus.FAILED, accuracy=Accuracy(1.0, 2.0, 3.0, 4.0, 5))
    ledger.commit(Writer.begin(begun, "run"), layout, replace(record, frames=(bad, failed), engine="numpy"))
    found = ledger.survey(begun, layout)
    assert found.frames == {FrameStatus.PENDING: 62, FrameStatus.DONE: 3, FrameStatus.SKIPPED: 1, FrameStatus.FAILED: 1}
    assert found.size == sum(layout.shard_file(begun, i).stat().st_size for i in (0, 33))
    assert found.reasons == [(2, FrameStatus.SKIPPED, "not finite")]
    assert found.accuracies == [(3, Accuracy(1.0, 2.0, 3.0, 4.0, 5))]
    assert found.engines == ["numpy", "xla"]
    assert found.todo == [s for s in range(34) if s not in (0, 1, 33)]


def test_the_size_of_all_shards_needs_no_record(begun: Path, layout: StoreLayout, do_shard):
    for shard in (0, 5, 33):
        do_shard(begun, layout, shard)
    assert ledger.stored_bytes(begun, layout) == ledger.survey(begun, layout).size > 0
    assert ledger.count(begun, layout) == 3


def test_a_record_that_does_not_fit_the_layout_is_an_error(begun: Path, layout: StoreLayout, make_record):
    record = make_record(layout, 1, 0, "")
    for wrong in (replace(record, first_frame=3), replace(record, frames=record.frames[:1]), replace(record, shard=34)):
        with pytest.raises(ValueError, match="shard"):
            ledger.commit(Writer.begin(begun, "run"), layout, wrong)
    with pytest.raises(ValueError, match="bytes"):
        ledger.commit(Writer.begin(begun, "run"), layout, replace(record, engine="x" * layout.record_bytes))
    assert list(ledger.records(begun, layout)) == []


def test_a_foreign_name_in_the_ledger_is_no_record(begun: Path, layout: StoreLayout, do_shard):
    do_shard(begun, layout, 0)
    for name in ("c.34.0", "c.007.0", "c.x.0", "c.٣.0", "c.1.1", "c.1"):
        (begun / "ledger" / name).touch()
    assert [record.shard for record in ledger.records(begun, layout)] == [0]


def test_a_withdrawn_record_leaves_its_frames_pending(begun: Path, layout: StoreLayout, do_shard):
    do_shard(begun, layout, 0)
    for _ in range(2):
        ledger.withdraw(Writer.begin(begun, "run"), layout, 0)
        assert ledger.read(begun, layout, 0) is None
        assert ledger.pending(begun, layout) == (list(range(34)), {})
