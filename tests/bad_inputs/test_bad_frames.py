"""Bad frames: each kind ends the run with the frame's name and 4, or is left out as NaN with the reason; files that change."""

from dataclasses import replace

import numpy as np
import pytest

BAD = 4


def _at(atom, value):
    def change(points):
        points[atom] = value

    return change


def _dcd(change):
    return lambda bench: bench.dcd("t.dcd", bench.frames(change, BAD))


def flipped(bench):
    """One bit of a frame's packed coordinates: XTC has no checksum."""
    from cryovox.tasks.decoding.formats import open_frames

    bench.xtc("t.xtc")
    path = bench.folder / "t.xtc"
    with open_frames(str(path), "xtc", None) as file:
        offsets = file.index().offsets
    raw = bytearray(path.read_bytes())
    raw[int(offsets[BAD]) + 100] ^= 64
    path.write_bytes(raw)
    return "t.xtc"


def jumped(bench):
    return bench.dcd("t.dcd", bench.frames(_at(slice(50, 60), bench.positions[BAD, 50:60] + 40.0), BAD))


def no_box(bench):
    """The molecule is cut by the box in every frame, and one frame does not tell the box."""
    positions = bench.positions % 60.0
    edges = [60.0] * len(positions)
    edges[BAD] = 0.0
    return bench.xtc("t.xtc", positions, edges)


def other_count(bench):
    text = (bench.folder / bench.pdb("t.pdb", models=8)).read_text().split("MODEL")
    text[BAD + 1] = text[BAD + 1].replace(bench.lines[9] + "\n", "")
    bench.text("MODEL".join(text), "t.pdb")
    return "t.pdb"


def no_number(bench):
    text = (bench.folder / bench.pdb("t.pdb", models=8)).read_text().split("MODEL")
    line = bench.lines[9]
    text[BAD + 1] = text[BAD + 1].replace(line, f"{line[:30]}{'*' * 8}{line[38:]}")
    bench.text("MODEL".join(text), "t.pdb")
    return "t.pdb"


CASES = {
    "bit flips": (flipped, ""),
    "jump": (jumped, "bonds are more than 5 Å longer than in the first frame"),
    "range": (_dcd(_at(3, 1e8)), "1e+08 Å from the origin"),
    "NaN": (_dcd(_at(3, np.nan)), "1 of 180 selected atoms have positions that are not finite"),
    "inf": (_dcd(_at(3, np.inf)), "not finite"),
    "all-zero frame": (_dcd(_at(slice(None), 0.0)), "exactly 0, 0, 0"),
    "constant frame": (_dcd(_at(slice(None), 5.0)), "all selected atoms lie at one point"),
    "changing atom count": (other_count, "it has 179 atoms, the file's first model 180"),
    "changing box": (no_box, "the frame has no box, and the first frame has one"),
    "`*******` in one model": (no_number, "********"),
}  # fmt: skip


@pytest.fixture
def loaded(bench, command):
    """A recipe of the spoiled file, and its ensemble."""
    from cryovox.pipeline.documents.recipe import load_recipe
    from cryovox.workflows.kinds import open_ensemble

    def of(make, policy, most=0.2):
        name = make(bench)
        keys = {"coordinates": name, "on_bad_frame": policy, "max_bad_fraction": most}
        recipe = bench.recipe({**keys, **({"topology": None} if name.endswith(".pdb") else {})}, certificate={"frames": 1})
        taken = load_recipe(recipe)
        return taken.recipe, open_ensemble(taken.recipe, taken.folder)

    return of


def look(recipe, ensemble):
    from cryovox.workflows.extents import FindExtents, merged

    survey = FindExtents(recipe, ensemble, np.arange(ensemble.n_frames), "test")
    with survey.open() as session:
        return merged(session.do(unit) for unit in survey.units)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_with_fail_the_frame_is_named_and_the_run_ends_with_4(loaded, says, bench, case):
    from cryovox.pipeline.events.exits import exit_of
    from cryovox.tasks.errors import FrameFault

    make, reason = case
    recipe, ensemble = loaded(make, "fail")
    before = bench.listing()
    with pytest.raises(FrameFault) as caught:
        look(recipe, ensemble)
    assert caught.value.frame == BAD
    assert exit_of(caught.value) == 4
    name = ensemble.frame_files[0]
    fix = "copy the trajectory again"
    says(str(caught.value), f"frame {BAD} of the trajectory cannot be used", f"{name}, frame {BAD} ", reason, "finite", fix)
    assert "on_bad_frame: skip" in str(caught.value)
    assert bench.listing() == before


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_with_skip_its_volume_is_nan_and_the_ledger_says_why(loaded, bench, case):
    from cryovox.tasks.store import ledger
    from cryovox.tasks.store.layout import run_folder
    from cryovox.tasks.store.lock import acquire
    from cryovox.tasks.store.read import read_frames
    from cryovox.tasks.values import FrameStatus
    from cryovox.workflows import resolve, volumes

    make, reason = case
    recipe, ensemble = loaded(make, "skip")
    ensemble = replace(ensemble, n_frames=6, source_frames=ensemble.source_frames[:6])
    seen = look(recipe, ensemble)
    assert [frame for frame, _ in seen.bad] == [BAD]
    store = bench.folder / "out.zarr"
    with acquire(run_folder(store)) as lock:
        job = resolve.job_of(recipe, ensemble, resolve.layout_of(recipe, ensemble, seen), store, lock.uuid)
        volumes.begin(job)
        workload, _ = volumes.work(job)
        with workload.open() as session:
            for unit in workload.units:
                session.do(unit)
    drawn = read_frames(store, np.arange(6), allow_missing=True)
    assert np.isnan(drawn[BAD]).all()
    assert np.isfinite(np.delete(drawn, BAD, axis=0)).all()
    found = ledger.survey(store, job.layout).reasons
    assert [(frame, status) for frame, status, _ in found] == [(BAD, FrameStatus.SKIPPED)]
    assert found[0][2].startswith(f"{ensemble.frame_files[0]}, frame {BAD}: ")
    assert reason in found[0][2]


def test_more_than_max_bad_fraction_ends_the_run(loaded, bench, says):
    from cryovox.pipeline.events.exits import exit_of
    from cryovox.pipeline.skipped import Skipped
    from cryovox.tasks.errors import FrameFault

    def two(bench):
        positions = bench.positions.copy()
        positions[BAD : BAD + 2] = np.nan
        return bench.dcd("t.dcd", positions)

    recipe, ensemble = loaded(two, "skip", 0.05)
    seen = look(recipe, ensemble)
    with pytest.raises(FrameFault) as caught:
        Skipped(ensemble.n_frames, recipe.ensemble.bad_frames, dict(seen.bad)).check()
    assert exit_of(caught.value) == 4
    says(str(caught.value), "too many frames", "", "2 of 10 frames", "`ensemble.max_bad_fraction`", "max_bad_fraction: ")


def shorter(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def longer(path):
    path.write_bytes(path.read_bytes() * 2)


def other(path):
    path.write_bytes(b"\0" * path.stat().st_size)


def gone(path):
    path.unlink()


@pytest.fixture
def reader(bench, lent, loaded):
    from cryovox.tasks.ensemble.reader import FrameReader

    _, ensemble = loaded(lambda b: "good.xtc", "fail")
    with FrameReader(ensemble.trajectory, lent) as made:
        yield made


def test_a_file_that_grows_while_running_gives_the_frames_it_had(bench, reader):
    right = reader.read(np.arange(10)).positions
    longer(bench.folder / "good.xtc")
    np.testing.assert_array_equal(reader.read(np.arange(10)).positions, right)


@pytest.mark.parametrize("change", [shorter, other])
def test_a_file_that_is_replaced_while_running_is_a_named_frame(bench, reader, says, change):
    from cryovox.tasks.errors import FrameFault

    change(bench.folder / "good.xtc")
    with pytest.raises(FrameFault) as caught:
        reader.read(np.array([9]))
    assert caught.value.frame == 9
    says(str(caught.value), "frame 9", "good.xtc, frame 9", "", "finite positions", "copy the trajectory again")


def test_a_file_of_other_atoms_put_in_its_place_is_noticed(bench, reader):
    from cryovox.tasks.errors import FrameFault

    (bench.folder / bench.xtc("new.xtc", bench.positions[:, :-5])).replace(bench.folder / "good.xtc")
    with pytest.raises(FrameFault, match="175 atoms; it had 180"):
        reader.read(np.array([0]))


def test_a_file_that_is_gone_while_running_is_no_frames_fault(bench, reader):
    from cryovox.pipeline.events.exits import exit_of
    from cryovox.tasks.errors import DecoderFault

    gone(bench.folder / "good.xtc")
    with pytest.raises(DecoderFault, match="out of reach") as caught:
        reader.read(np.array([0]))
    assert exit_of(caught.value) == 4


def test_a_file_that_changed_between_two_runs_is_refused(bench, loaded, says):
    """S: the store knows its inputs by their bytes."""
    from cryovox.tasks.errors import Refusal
    from cryovox.tasks.grid import VoxelGrid
    from cryovox.tasks.store.layout import StoreLayout
    from cryovox.workflows import resume
    from cryovox.workflows.recipe import sources_of

    _, ensemble = loaded(lambda b: "good.xtc", "fail")
    attributes = {"sources": sources_of(ensemble)}
    longer(bench.folder / "good.xtc")
    _, changed = loaded(lambda b: "good.xtc", "fail")
    with pytest.raises(Refusal) as caught:
        resume.same_sources(bench.folder / "out.zarr", StoreLayout(VoxelGrid((8, 8, 8), 3.0), 10, "float32"), attributes, changed)
    says(str(caught.value), "inputs changed", "out.zarr", "good.xtc", "the same bytes", "--overwrite")


def test_nothing_of_a_reading_stays_beside_the_files(bench, reader):
    before = bench.listing()
    reader.read(np.arange(10))
    assert bench.listing() == before
