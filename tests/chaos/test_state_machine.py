"""Any order of work, death, takeover, rot, growth and repair leaves a store that says the truth, and ends with the same bytes.

A process stops before any one of its system calls: there it dies, or sleeps and wakes up when another run owns the store. The
model is the store's files as bytes: a call changes those that it may change, wholly or not at all, and nothing else.
"""

import shutil
import sys
import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from cryovox.pipeline.repair import withdraw
from cryovox.pipeline.verify import verify
from cryovox.tasks.errors import LockLost, Refusal, StoreDamage
from cryovox.tasks.store import closing, ledger, lock, template
from cryovox.tasks.store.findings import Cure
from cryovox.tasks.store.layout import read_layout, run_folder
from cryovox.tasks.store.read import read_frames
from cryovox.tasks.values import FrameStatus

spec = spec_from_file_location("chaos_model", Path(__file__).with_name("model.py"))
assert spec is not None
assert spec.loader is not None
model: Any = module_from_spec(spec)
spec.loader.exec_module(model)
Model, TALLY, processes, tiny = model.Model, model.TALLY, model.processes, model.tiny
GRID, SIZES, SKIPPED = tiny.GRID, tiny.SIZES, tiny.SKIPPED
golden, gathered, layout_of, beginning_of, made, tree, volume = (
    getattr(tiny, name) for name in ("golden", "gathered", "layout_of", "beginning_of", "made", "tree", "volume")
)


@pytest.fixture(scope="module", autouse=True)
def _watched():
    with processes.watched():
        yield


def until(most: int) -> st.SearchStrategy[int]:
    """Of two calls one comes to its end."""
    return st.just(0) | st.integers(1, most)


class Store(Model, RuleBasedStateMachine):
    """Rules over the model."""

    @initialize(
        n=st.sampled_from(SIZES), done=st.sets(st.integers(0, 7)), state=st.sampled_from(["none", "begun", "whole", "closed"])
    )
    def finds(self, n: int, done: set[int], state: str) -> None:
        """What was there before."""
        if state == "none":
            return
        self.n, self.root = n, "finished" if state == "closed" else "begun"
        begun, finished, _ = golden(n)
        left = set(range(8)) - done if state == "begun" else set()
        missing = {name for s in left if s < self.layout.n_shards for name in (self.shard(s), self.record(s))}
        shards = {name: data for name, data in finished.items() if isinstance(self.owner(name), int) and name not in missing}
        self.disk = dict(finished) if state == "closed" else begun | shards
        for name, data in self.disk.items():
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_bytes(data)

    # the rules

    wakes = st.booleans()

    @precondition(lambda self: self.disk is None)
    @rule(step=until(90), wakes=wakes)
    def begins(self, step: int, wakes: bool) -> None:
        writer, n = self.writer, self.n
        self.does(lambda: template.create(writer, beginning_of(n)), golden(n)[0], step, wakes)

    @precondition(lambda self: self.there() and self.undone() and self.root != "finished")
    @rule(data=st.data(), step=until(16), wakes=wakes)
    def makes_a_shard(self, data: st.DataObject, step: int, wakes: bool) -> None:
        shard = data.draw(st.sampled_from(self.undone()))
        right, writer, n = golden(self.n)[1], self.writer, self.n
        name, record = self.shard(shard), self.record(shard)
        self.does(lambda: made(writer, n, shard), {name: right.get(name), record: right[record]}, step, wakes)
        assert self.disk is not None
        if record in self.disk:
            assert self.disk.get(name) == right.get(name)  # the record comes last

    @precondition(Model.there)
    @rule(step=until(6), wakes=wakes)
    def resumes(self, step: int, wakes: bool) -> None:
        """Shards without a record are named; damage that is visible is withdrawn."""
        layout, writer, missing = self.layout, self.writer, set(self.undone())
        damaged = {s for s in self.visible() if isinstance(s, int)} - missing
        opens = self.root == "finished" and bool(missing | damaged)

        def work() -> None:
            todo, found = ledger.pending(self.path, layout)
            assert (set(todo), set(found)) == (missing | damaged, damaged)
            if todo and read_layout(self.path)[1]["complete"]:
                closing.reopen(writer)
            for shard in found:
                ledger.withdraw(writer, layout, shard)

        changes = {"zarr.json": golden(self.n)[2]} if opens else {}
        self.does(work, {**dict.fromkeys(map(self.record, damaged)), **changes}, step, wakes)
        assert not opens or self.root == "reopened" or damaged.isdisjoint(self.undone())  # a store with a gap is not complete

    @precondition(Model.there)
    @rule(step=until(80), wakes=wakes)
    def finishes(self, step: int, wakes: bool) -> None:
        layout, writer, right = self.layout, self.writer, golden(self.n)[1]
        unfit = bool(self.undone()) or any(
            (self.disk or {})[self.record(s)] != right[self.record(s)] for s in range(layout.n_shards)
        )
        small = {name for name in self.damage() if name in right and isinstance(self.owner(name), str)}
        changes: dict[str, bytes | None] = {} if unfit else {name: right[name] for name in right if gathered(name)}
        if unfit or (self.root != "begun" and any(not gathered(name) for name in small)):

            def refused() -> None:
                with pytest.raises(StoreDamage):
                    closing.finish(writer, layout)

            self.does(refused, changes)
            return
        was = self.root
        ended = self.does(lambda: closing.finish(writer, layout), {**changes, "zarr.json": right["zarr.json"]}, step, wakes)
        assert self.disk is not None
        if ended or was != self.root:  # the root comes last
            assert all(self.disk.get(name) == right[name] for name in changes)

    @precondition(lambda self: self.growing or (self.there() and not self.damage() and self.n != SIZES[-1]))
    @rule(step=until(130), wakes=wakes)
    def grows(self, step: int, wakes: bool) -> None:
        assert read_layout(self.path)[0].n_frames in SIZES  # what a run that extends asks first
        before, writer, n = self.layout, self.writer, SIZES[SIZES.index(self.n) + 1]
        (begun, finished, _), uneven = golden(self.n), before.n_frames % before.frames_per_shard
        changes: dict[str, bytes | None] = dict.fromkeys(name for name in finished if gathered(name))
        changes |= golden(n)[0] | ({self.record(before.n_shards - 1): None} if uneven else {})

        def work() -> None:
            closing.reopen(writer, but=["files"])
            if uneven:
                ledger.withdraw(writer, before, before.n_shards - 1)
            template.renew(writer, beginning_of(n))

        ended = self.does(work, changes, step, wakes, {"zarr.json": begun["zarr.json"]})
        assert self.disk is not None
        self.growing = self.disk["zarr.json"] != golden(n)[0]["zarr.json"]
        assert self.growing or ended or all(self.disk.get(name) == data for name, data in changes.items())  # likewise
        if not self.growing:
            self.n, self.root = n, "begun"

    @precondition(Model.there)
    @rule(data=st.data(), how=st.sampled_from(["flip", "cut", "longer", "gone", "zeros", "swap", "stray"]))
    def rots(self, data: st.DataObject, how: str) -> None:
        disk = self.disk
        assert disk is not None
        recorded = [s for s in range(self.layout.n_shards) if s not in self.undone()]
        shards = sorted(n for n in map(self.shard, recorded) if n in disk)
        records = sorted(map(self.record, recorded))
        if how == "stray":
            name = data.draw(st.sampled_from(["stray", "potential/junk", "potential/c.99.0.0.0", "ledger/c.99.0", "ledger/.x"]))
            (self.path / name).write_bytes(b"stray")
            disk[name] = b"stray"
        elif how == "swap":
            kind = data.draw(st.sampled_from([kind for kind in (shards, records) if len(kind) > 1] or [[]]))
            if kind:
                a, b = data.draw(st.permutations(kind))[:2]
                disk[a], disk[b] = disk[b], disk[a]
                for name in (a, b):
                    (self.path / name).write_bytes(disk[name])
        else:
            # of a store that is not closed nobody knows its small files' digests
            small = sorted(n for n in disk if isinstance(self.owner(n), str)) if self.root != "begun" else []
            kind = data.draw(st.sampled_from([kind for kind in (shards, records, small) if kind] or [[]]))
            if kind:
                name = data.draw(st.sampled_from(kind))
                self.spoils(name, how, data)

    def spoils(self, name: str, how: str, data: st.DataObject) -> None:
        assert self.disk is not None
        old = self.disk[name] or b"-"
        place = data.draw(st.integers(0, len(old) - 1))
        new = bytearray(old)
        new[place] ^= 1 << data.draw(st.integers(0, 7))
        spoilt = {"flip": bytes(new), "cut": old[:place], "longer": old + b"x", "zeros": bytes(len(old))}.get(how)
        if spoilt == old:
            return
        if spoilt is None:
            (self.path / name).unlink()
            del self.disk[name]
        else:
            (self.path / name).write_bytes(spoilt)
            self.disk[name] = spoilt

    @precondition(lambda self: self.disk is not None and not self.growing)
    @rule(deep=st.booleans())
    def verifies(self, deep: bool) -> None:
        """Every damage and nothing else; without reading a voxel, what can be seen so."""
        found = verify(self.path, deep, lambda: None, running=False)
        named = {finding.path if finding.shard is None else finding.shard for finding in found.findings}
        every = {self.owner(name) for name in self.damage()}
        assert named == every if deep else self.visible() <= named <= every
        assert sum(found.frames.values()) == self.n

    @precondition(lambda self: self.disk is not None and not self.growing)
    @rule(steps=st.tuples(until(8), until(130)), wakes=wakes)
    def repairs(self, steps: tuple[int, int], wakes: bool) -> None:
        """As `verify --repair` begins: shards are withdrawn, strangers moved aside, metadata written anew."""
        writer, found = self.writer, verify(self.path, True, lambda: None, running=False)
        begun, finished, reopened = golden(self.n)
        damaged = {self.owner(name) for name in self.damage()}
        shards = [s for s in damaged if isinstance(s, int)]
        gone = {name for s in shards for name in (self.shard(s), self.record(s))}
        gone |= {name for name in damaged if isinstance(name, str) and name not in finished}
        opens: dict[str, bytes | None] = {}
        if self.root == "finished" and shards and "zarr.json" not in damaged:
            # where the array's own metadata are damaged, the store may be closed until they are written anew
            opens = {"zarr.json": reopened} if "potential/zarr.json" not in damaged or self.opens_still() else {}
        if not self.does(lambda: withdraw(writer, found), {**dict.fromkeys(gone), **opens}, steps[0], wakes):
            return
        if any(finding.cure is Cure.RENEW for finding in found.findings):
            changes = dict.fromkeys(name for name in finished if gathered(name)) | begun
            beginning = beginning_of(self.n)
            self.does(lambda: template.renew(writer, beginning), changes, steps[1], wakes)

    def opens_still(self) -> bool:
        try:
            return bool(read_layout(self.path))
        except Refusal:
            return False

    @precondition(lambda self: self.zombies)
    @rule(data=st.data())
    def wakes_up(self, data: st.DataObject) -> None:
        """The one who wakes up when another run owns the store changes no byte of it."""
        zombie = self.zombies.pop(data.draw(st.integers(0, len(self.zombies) - 1)))
        TALLY["zombies"] += 1
        error = zombie.ends(dead=False)
        assert error is None or isinstance(error, LockLost), repr(error)
        TALLY["of them told that the lock is lost"] += error is not None
        assert (tree(self.path) if self.path.exists() else {}) == (self.disk or {})

    @rule()
    def a_second_run_is_refused(self) -> None:
        with pytest.raises(Refusal):
            lock.acquire(run_folder(self.path))

    @precondition(lambda self: self.there())
    @rule()
    def reads_what_is_damaged(self) -> None:
        """Voxels of a frame are those that were written, or there are none."""
        found, right = self.disk or {}, golden(self.n)[1]
        for shard in sorted({s for s in map(self.owner, self.damage()) if isinstance(s, int)} - set(self.undone())):
            name, frames = self.shard(shard), self.layout.frames_of(shard)
            if found.get(name) in [right.get(self.shard(s)) for s in range(self.layout.n_shards) if s != shard]:
                continue  # the shard of another place, as long: each read would have to read all of it
            for frame in set(frames).difference(SKIPPED):
                try:
                    voxels = read_frames(self.path, [frame])[0]
                except StoreDamage:
                    continue
                assert found[self.record(shard)] == right[self.record(shard)]
                np.testing.assert_array_equal(voxels, volume(frame))

    @invariant()
    def tells_the_truth(self) -> None:
        TALLY["steps"] += 1
        if not self.there():
            return
        damaged, visible, n_frames = {self.owner(name) for name in self.damage()}, self.visible(), self.layout.frames_of
        said = ledger.survey(self.path, self.layout)
        trusted = [s for s in range(self.layout.n_shards) if s not in visible and s not in self.undone()]
        frames = [frame for s in trusted for frame in n_frames(s)]
        skipped = len(set(frames).intersection(SKIPPED))
        assert sum(said.frames.values()) == self.n
        assert said.frames[FrameStatus.DONE] == len(frames) - skipped
        assert said.frames[FrameStatus.SKIPPED] == skipped
        assert said.frames[FrameStatus.FAILED] == 0
        for shard in self.undone()[:1]:
            with pytest.raises(ValueError, match="pending"):
                read_frames(self.path, [n_frames(shard).start])
        whole = [frame for s in trusted if s not in damaged for frame in n_frames(s) if frame not in SKIPPED]
        np.testing.assert_array_equal(
            read_frames(self.path, whole), np.array([volume(f) for f in whole]).reshape(-1, *GRID.shape)
        )

    def teardown(self) -> None:
        try:
            if sys.exc_info()[1] is None:
                self.ends_well()
        finally:
            self.teardown_folder()

    def teardown_folder(self) -> None:
        for zombie in self.zombies:
            zombie.ends(dead=True)
        shutil.rmtree(self.folder)

    def ends_well(self) -> None:
        """Whatever happened, the same run ends with the store that nobody disturbed."""
        while self.zombies:
            self.wakes_up(FIRST)
        if self.disk is None:
            self.begins(0, False)
        if self.growing:
            self.grows(0, False)
        self.repairs((0, 0), False)
        self.resumes(0, False)
        for shard in self.undone():
            made(self.writer, self.n, shard)
        self.disk = tree(self.path)
        self.finishes(0, False)
        assert tree(self.path) == golden(self.n)[1]
        assert verify(self.path, True, lambda: None, running=False).findings == ()
        self.lock.release()
        assert not {"lock", "unfinished"} & {path.name for path in run_folder(self.path).iterdir()}


class First:
    """Draws the least."""

    def draw(self, strategy: st.SearchStrategy) -> int:
        return 0


FIRST: Any = First()
COMMON = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck), "print_blob": True}


CALLS = {
    "begins": ("none", 12, lambda store, step, wakes: store.begins(step, wakes)),
    "makes a shard": ("begun", 11, lambda store, step, wakes: store.makes_a_shard(FIRST, step, wakes)),
    "finishes": ("whole", 12, lambda store, step, wakes: store.finishes(step, wakes)),
    "grows": ("closed", 11, lambda store, step, wakes: store.grows(step, wakes)),
}


def stopped_before(step: int, name: str, wakes: bool) -> bool:
    """One call that is stopped there, and what follows; whether it came to its end before."""
    state, n, call = CALLS[name]
    store = Store()
    try:
        store.finds(n, set(), state)
        before = TALLY["stopped"]
        call(store, step, wakes)
        store.tells_the_truth()
        store.ends_well()
    finally:
        store.teardown_folder()
    return TALLY["stopped"] == before


@pytest.mark.parametrize("every", [11, pytest.param(1, marks=pytest.mark.chaos)])
@pytest.mark.parametrize("name", CALLS)
def test_a_call_may_be_stopped_before_each_of_its_steps(name, every):
    """It dies there, or wakes up when another run has done its work."""
    step = 1
    while not (stopped_before(step, name, False) and stopped_before(step, name, True)):
        step += every
    assert step > 9, "more than a rename"


def carried_out(**more: Any) -> None:
    TALLY.clear()
    began = time.monotonic()
    run_state_machine_as_test(Store, settings=settings(**COMMON, **more))
    print("\n" + ", ".join(f"{n} {what}" for what, n in sorted(TALLY.items())), f"in {time.monotonic() - began:.0f} s")


def test_a_store_tells_the_truth_after_any_twenty_steps():
    carried_out(max_examples=40, stateful_step_count=20, derandomize=True)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_a_store_tells_the_truth_after_any_thirty_steps_a_thousand_times():
    carried_out(max_examples=1000, stateful_step_count=30)
