"""`cryovox verify`: every damage is named with exit code 4, and `--repair` gives back the undamaged store, byte for byte."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from cryovox.pipeline.verify import verify
from cryovox.tasks.store import lock
from cryovox.tasks.store.layout import read_layout


def flip(file: Path, place: int = 40) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 4
    file.write_bytes(data)


@pytest.fixture(scope="module")
def golden(tmp_path_factory, quickstart, cryovox) -> Path:
    """A folder with a finished store of the quickstart's ensemble, and its inputs."""
    folder = tmp_path_factory.mktemp("golden")
    for name in ("adk.pdb", "adk.xtc"):
        shutil.copy(quickstart / name, folder)
    (folder / "one.yaml").write_text("workers: 1\nthreads: 1\ndashboard_port: 0\n")
    shutil.copy(quickstart.parent / "recipes" / "quickstart.yaml", folder / "recipe.yaml")
    text = (folder / "recipe.yaml").read_text().replace("../quickstart/", "")
    (folder / "recipe.yaml").write_text(text)
    done = cryovox("run", "recipe.yaml", "--set", "grid.voxel_size=4.0", "--cluster", "./one.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def folder(golden, tmp_path) -> Path:
    """A copy, to be damaged; its inputs are where they were remembered."""
    return Path(shutil.copytree(golden, tmp_path / "copy"))


def repair(cryovox, folder: Path, *more: str):
    return cryovox("verify", "adk.zarr", "--repair", "--json", "--cluster", "./one.yaml", *more, cwd=folder)


def test_a_sound_store_is_said_to_be_sound(folder, cryovox, digests):
    before = digests(folder / "adk.zarr")
    done = cryovox("verify", "adk.zarr", "--deep", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "98 done" in done.stdout
    assert "damaged      nothing" in done.stdout
    assert digests(folder / "adk.zarr") == before
    said = json.loads((folder / "adk.zarr.run" / "verified.json").read_text())
    assert (said["damaged"], said["shards"], said["frames"]["done"]) == (0, 49, 98)
    assert not (folder / "adk.zarr.run" / "verify.jsonl").exists()


def test_damage_is_named_and_ends_with_4(folder, cryovox):
    layout, _ = read_layout(folder / "adk.zarr")
    flip(layout.shard_file(folder / "adk.zarr", 7))
    layout.shard_file(folder / "adk.zarr", 48).unlink()
    done = cryovox("verify", "adk.zarr", "--json", cwd=folder)
    assert done.returncode == 4
    assert [finding["shard"] for finding in json.loads(done.stdout)["findings"]] == [48]
    done = cryovox("verify", "adk.zarr", "--deep", cwd=folder)
    assert done.returncode == 4
    assert "shard 7, frames 14…15: potential/c.7.0.0.0" in done.stdout
    assert "shard 48, frames 96…97: potential/c.48.0.0.0" in done.stdout


def test_what_is_no_store_is_refused_and_gets_no_folder_beside_it(tmp_path, cryovox):
    (tmp_path / "empty").mkdir()
    for name, more in (("empty", "--repair"), ("nothing", "--deep")):
        done = cryovox("verify", name, more, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert ("this is not a cryovox store" in done.stderr) == (name == "empty")
        assert ("nothing is there" in done.stderr) == (name == "nothing")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_pending_frames_are_no_damage_where_the_store_is_not_complete(folder):
    store = folder / "adk.zarr"
    layout, _ = read_layout(store)
    root = store / "zarr.json"
    text = json.loads(root.read_text())
    ours = text["attributes"]["cryovox"]
    ours["complete"] = False
    for name in ("files", "certificate"):
        del ours[name]
    from cryovox.tasks.store.root import OWN, root_text

    root.write_bytes(root_text(layout, {key: value for key, value in ours.items() if key not in OWN}))
    for shard in (0, 5):
        layout.record_file(store, shard).unlink()
    found = verify(store, False, lambda: None)
    assert found.findings == ()
    assert found.frames == {"pending": 4, "done": 94, "skipped": 0, "failed": 0}
    assert any("4 frames are pending" in note for note in found.notes)


def test_beside_a_run_what_is_pending_is_no_damage_and_repair_is_refused(folder, cryovox):
    store = folder / "adk.zarr"
    layout, _ = read_layout(store)
    with lock.acquire(folder / "adk.zarr.run"):
        layout.record_file(store, 3).unlink()
        found = verify(store, True, lambda: None)
        assert found.findings == ()
        assert any("a run is at work" in note for note in found.notes)
        done = repair(cryovox, folder)
        assert done.returncode == 2
        assert "another run holds this store" in done.stderr


def test_an_interrupted_pass_goes_on_where_it_was(folder):
    from cryovox.pipeline.events.exits import Exit, Interrupted, exit_of

    store, asked = folder / "adk.zarr", 0

    def stop() -> str | None:
        nonlocal asked
        asked += 1
        return "stopped by SIGINT" if asked > 49 + 20 else None  # the quick look asks once a shard

    with pytest.raises(Interrupted, match="goes on there") as caught:
        verify(store, True, stop)
    assert exit_of(caught.value) is Exit.INTERRUPTED
    found = verify(store, True, lambda: None)
    assert (found.findings, found.remembered, found.shards) == ((), 21, 28)
    again = verify(store, True, lambda: None)  # a pass that has ended is not trusted
    assert (again.remembered, again.shards) == (0, 49)


def test_a_signal_ends_it_with_75(folder, start):
    store = folder / "adk.zarr"
    layout, _ = read_layout(store)
    records = [layout.record_file(store, shard) for shard in range(layout.n_shards)]
    slow = folder / "slow"
    slow.mkdir()
    (slow / "sitecustomize.py").write_text(
        "import hashlib, time\n"
        "before = hashlib.sha256\n"
        "def sha256(*data):\n"
        "    time.sleep(0.05)\n"
        "    return before(*data)\n"
        "hashlib.sha256 = sha256\n"
    )
    environment = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(slow)
    try:
        process = start("verify", "adk.zarr", "--deep", cwd=folder)
    finally:
        os.environ.pop("PYTHONPATH") if environment is None else os.environ.update(PYTHONPATH=environment)
    deadline = time.monotonic() + 60
    while not (folder / "adk.zarr.run" / "verify.jsonl").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 75, (folder / "output.txt").read_text()
    assert (folder / "adk.zarr.run" / "verify.jsonl").exists()
    assert all(record.exists() for record in records)


def many(folder: Path) -> set[str]:
    """Damage of every kind at once; the files that are named."""
    store = folder / "adk.zarr"
    layout, _ = read_layout(store)

    def shard(n: int) -> Path:
        return layout.shard_file(store, n)

    flip(shard(0))
    os.truncate(shard(1), 100)
    shard(2).unlink()
    shard(3).write_bytes(bytes(shard(3).stat().st_size))
    a, b = shard(10).read_bytes(), shard(11).read_bytes()
    shard(10).write_bytes(b)
    shard(11).write_bytes(a)
    flip(shard(48), -8)
    layout.record_file(store, 20).write_bytes(b"{}")
    layout.record_file(store, 21).unlink()
    text = layout.record_file(store, 22).read_bytes()
    layout.record_file(store, 22).write_bytes(text.replace(b'"mass":', b'"mass":1', 1)[:-2] + b"\n")
    (store / "notes.txt").write_text("mine")
    (store / "potential" / "c.49.0.0.0").write_bytes(b"old")
    return {f"potential/{layout.shard_key(n)}" for n in (0, 1, 2, 3, 10, 11, 48)} | {
        *(f"ledger/{layout.record_key(n)}" for n in (20, 21, 22)),
        "notes.txt",
        "potential/c.49.0.0.0",
    }


def metadata(folder: Path) -> set[str]:
    store = folder / "adk.zarr"
    (store / "potential" / "zarr.json").unlink()
    flip(store / "x" / "c" / "0")
    (store / "frame" / "rotation" / "zarr.json").write_text("{}")
    flip(store / "frame" / "sum" / "c" / "0")
    return {"potential/zarr.json", "x/c/0", "frame/rotation/zarr.json", "frame/sum/c/0"}


def root(folder: Path) -> set[str]:
    (folder / "adk.zarr" / "zarr.json").unlink()
    return {"zarr.json"}


@pytest.mark.parametrize("damage", [many, metadata, pytest.param(root, marks=pytest.mark.chaos)])
def test_a_repaired_store_is_the_undamaged_one(folder, golden, cryovox, digests, damage):
    named = damage(folder)
    done = repair(cryovox, folder, "--deep")
    assert done.returncode == 0, done.stderr + done.stdout
    said = json.loads(done.stdout)
    assert {finding["path"] for finding in said["before"]["findings"]} == named
    assert said["findings"] == []
    assert digests(folder / "adk.zarr") == digests(golden / "adk.zarr")
    aside = folder / "adk.zarr.run" / "orphans"
    assert [path.read_text() for path in (aside.iterdir() if aside.exists() else [])] == (["mine"] if damage is many else [])


def test_without_inputs_nothing_is_withdrawn_and_the_next_step_is_said(folder, cryovox, digests):
    """A shard with one bad brick is better than none."""
    file, store = folder / "adk.zarr.run" / "recipe.json", folder / "adk.zarr"
    said = json.loads(file.read_text())
    file.write_text(json.dumps(said | {"folder": str(folder / "gone")}))
    layout, _ = read_layout(store)
    os.truncate(layout.shard_file(store, 9), 10)
    before = digests(store)
    done = cryovox("verify", "adk.zarr", "--repair", cwd=folder)
    assert done.returncode == 4
    assert "nothing is changed" in done.stdout
    assert "where the inputs are" in done.stdout
    assert "adk.pdb" in done.stdout
    assert digests(store) == before


@pytest.mark.chaos
def test_a_lost_root_does_not_let_other_inputs_in(folder, cryovox):
    """Nobody knows then of which inputs the store is: a shard that is made again tells."""
    file, store = folder / "adk.zarr.run" / "recipe.json", folder / "adk.zarr"
    said = json.loads(file.read_text())
    said["recipe"]["ensemble"]["center"] = "none" if said["recipe"]["ensemble"]["center"] != "none" else "box"
    file.write_text(json.dumps(said))
    (store / "zarr.json").unlink()
    done = repair(cryovox, folder)
    assert done.returncode == 4, done.stdout
    assert "not those that it was made of" in json.loads(done.stdout)["failure"]
