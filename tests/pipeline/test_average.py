"""`workflow: average` through the command: killed in each phase and resumed to the same bytes; looked at, verified, refused."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import gemmi
import mrcfile
import numpy as np
import psutil
import pytest

import cryovox as cryovox_module
from cryovox.pipeline.documents.recipe import load_recipe
from cryovox.pipeline.prepare import Onto, prepare
from cryovox.tasks.errors import Refusal, StoreDamage
from cryovox.tasks.store import products
from cryovox.tasks.store.read import read_frames
from cryovox.workflows.recipe import store_deciding

COMMAND = shutil.which("cryovox", path=str(Path(sys.executable).parent)) or "cryovox"
RECIPE = """\
workflow: average
ensemble: {{topology: {data}/adk.pdb, coordinates: {data}/adk.xtc, select: protein, align: {{to: first, select: name CA}}}}
grid: {{voxel_size: 2.0}}
certificate: {{frames: 2, voxels: 512}}
labels: {{table: labels.csv}}
average: {{by: state, weight: weight}}
store: {{path: a.zarr}}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory, quickstart):
    """Makes a folder with a recipe and its labels."""

    def write(folder: Path) -> Path:
        (folder / "r.yaml").write_text(RECIPE.format(data=quickstart))
        rows = [f"{'open' if i > 40 else 'closed'},{1 + i % 5}" for i in range(98)]
        (folder / "labels.csv").write_text("state,weight\n" + "\n".join(rows) + "\n")
        for n in (1, 2):
            (folder / f"{n}.yaml").write_text(f"workers: {n}\nthreads: 1\ndashboard_port: 0\n")
        return folder

    return write


@pytest.fixture(scope="module")
def golden(tmp_path_factory, made, cryovox, digests):
    """A finished average in a folder, made by one worker without interruption; its files."""
    folder = made(tmp_path_factory.mktemp("golden"))
    done = cryovox("run", "r.yaml", "--cluster", "./1.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "two groups by `state`; weights from `weight`" in done.stderr
    assert "next         cryovox preview a.zarr/mean\n" in done.stderr
    return folder, digests(folder / "a.zarr")


def test_status_verify_plan_and_readers_know_it(golden, inside, planned, digests):
    folder, files = golden
    said = inside("status", "a.zarr", cwd=folder)
    assert said.returncode == 0, said.stderr
    assert "98 done" in said.stdout
    assert "closed (41 frames), open (57 frames)" in said.stdout
    assert json.loads(inside("status", "a.zarr", "--json", cwd=folder).stdout)["complete"]
    assert inside("status", "a.zarr/mean", cwd=folder).returncode == 0
    for deep in ((), ("--deep",)):
        checked = inside("verify", "a.zarr", *deep, cwd=folder)
        assert checked.returncode == 0, checked.stdout
        assert checked.stdout.count("damaged      nothing") == 2
    plan = planned("r.yaml", cwd=folder)
    assert plan.returncode == 0, plan.stderr
    assert "0 left to do" in plan.stdout
    assert "mean and variance of: closed, open" in plan.stdout
    assert "--set workflow=volumes --set average=null" in plan.stdout
    volumes = planned("r.yaml", "--set", "workflow=volumes", "--set", "average=null", "--set", "store.path=b.zarr", cwd=folder)
    assert volumes.returncode == 0, volumes.stderr
    assert "98; 98 left to do" in volumes.stdout
    assert digests(folder / "a.zarr") == files  # nobody who looked has left anything there
    mean = read_frames(folder / "a.zarr" / "mean", [0, 1])
    assert np.isfinite(mean).all()
    with pytest.raises(Exception, match="name one of its stores"):
        read_frames(folder / "a.zarr", [0])


def test_its_mean_is_shown_and_exported_as_a_store_is(golden, quickstart, cryovox, inside, digests, tmp_path):
    folder, files = golden
    assert inside("preview", "a.zarr/mean", cwd=folder).returncode == 0
    assert (folder / "a.zarr.run" / "mean" / "preview.png").is_file()
    assert inside("status", "a.zarr", cwd=folder).returncode == 0
    done = inside("export", "a.zarr/mean", "--to", tmp_path / "maps", cwd=folder)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "maps" / "frames.csv").read_text().splitlines()))
    assert [(row["frame"], row["source_file"], row["source_frame"], row["group"]) for row in rows] == [
        ("0", "", "", "closed"),
        ("1", "", "", "open"),
    ]
    block = gemmi.cif.read(str(tmp_path / "maps" / "frames.star")).sole_block()
    assert [gemmi.cif.as_string(cell) for cell in block.find_values("_source_file")] == ["", ""]
    mean = read_frames(folder / "a.zarr" / "mean", [0, 1])
    for row, voxels in zip(rows, mean, strict=True):
        np.testing.assert_array_equal(mrcfile.read(tmp_path / "maps" / row["volume"]), voxels)
    other = inside("export", "a.zarr/variance", "--to", tmp_path / "maps", cwd=folder)
    assert other.returncode == 2
    assert "another export is in this folder" in other.stderr
    assert cryovox_module.open_store(folder / "a.zarr" / "mean").to_xarray()["t"].values.tolist() == [0, 1]
    shutil.copytree(folder / "a.zarr", tmp_path / "came" / "a.zarr")  # without what the run left beside it
    assert inside("preview", "came/a.zarr/mean", cwd=tmp_path).returncode == 0
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    for file in (quickstart / "adk.pdb", quickstart / "adk.xtc", folder / "labels.csv"):
        shutil.copy(file, inputs)
    for whole in ("came/a.zarr", "came/a.zarr/variance"):  # the average's recipe, for its own path
        words = ("reproduce", whole, "--inputs", "inputs", "--recipe", f"{Path(whole).name}.yaml")
        assert inside(*words, cwd=tmp_path).returncode == 0
        again = load_recipe(tmp_path / words[-1]).recipe
        assert store_deciding(again) == products.read(folder / "a.zarr")["recipe"]
        assert again.store.path == "came/a.zarr"
    shutil.copytree(folder / "a.zarr" / "mean", tmp_path / "alone.zarr")
    alone = inside("reproduce", "alone.zarr", "--inputs", "inputs", "--recipe", "alone.yaml", cwd=tmp_path)
    assert alone.returncode == 2
    assert "name the average" in alone.stderr
    assert (tmp_path / "came" / "a.zarr.run" / "mean" / "preview.png").is_file()
    atoms = inside("export", "a.zarr/mean", "--trajectory", tmp_path / "a.dcd", cwd=folder)
    assert atoms.returncode == 2
    assert "the mean of an average has no atoms" in atoms.stderr
    # the average's own folders take neither
    for words in (("preview", "a.zarr/mean", "--to", "a.zarr/x.png"), ("export", "a.zarr/mean", "--to", "a.zarr.run/x")):
        assert inside(*words, cwd=folder).returncode == 2
    assert digests(folder / "a.zarr") == files


def test_a_finished_one_is_left_as_it_is_and_no_other_takes_its_place(golden, inside, digests):
    folder, files = golden
    again = inside("run", "r.yaml", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert "nothing was left to do" in again.stderr
    for words, said in (
        (("--set", "average.by=null"), "average.by"),
        (("--set", "grid.voxel_size=3.0"), "grid.voxel_size"),
        (("--extend",), "only a store of volumes is extended"),
    ):
        refused = inside("run", "r.yaml", *words, cwd=folder)
        assert refused.returncode == 2
        assert said in refused.stderr
    (folder / "v.yaml").write_text((folder / "r.yaml").read_text().replace("workflow: average\n", "").replace("average: ", "#"))
    other = inside("run", "v.yaml", cwd=folder)
    assert other.returncode == 2
    assert "workflow" in other.stderr
    assert digests(folder / "a.zarr") == files


def test_damage_is_found_in_both_and_in_their_root(golden, inside, tmp_path):
    folder, _ = golden
    for name in ("mean/potential/c.0.0.0.0", "variance/zarr.json", "zarr.json"):
        shutil.copytree(folder / "a.zarr", tmp_path / "a.zarr", dirs_exist_ok=True)
        file = tmp_path / "a.zarr" / name
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
        found = inside("verify", "a.zarr", "--deep", cwd=tmp_path)
        assert found.returncode == 4, found.stdout
        assert "--overwrite" in found.stdout
        shutil.rmtree(tmp_path / "a.zarr")
    shutil.copytree(folder / "a.zarr" / "mean", tmp_path / "copy.zarr")
    for name in ("a.zarr", "a.zarr/mean", tmp_path / "copy.zarr"):
        refused = inside("verify", name, "--repair", cwd=folder)
        assert refused.returncode == 2
        assert "not repaired in part" in refused.stderr
    for words in ((), ("--inputs", folder)):
        refused = inside("reproduce", "copy.zarr", *words, cwd=tmp_path)
        assert refused.returncode == 2
        assert "not made again frame by frame" in refused.stderr


@pytest.mark.parametrize("lost", ["zarr.json", "mean/zarr.json", "variance/zarr.json", "variance"])
def test_what_is_lost_is_damage_and_a_run_that_starts_over_is_not_refused(golden, inside, tmp_path, made, monkeypatch, lost):
    made(tmp_path)
    shutil.copytree(golden[0] / "a.zarr", tmp_path / "a.zarr")
    path = tmp_path / "a.zarr" / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    for words in (("status", "a.zarr"), ("verify", "a.zarr"), ("verify", "a.zarr", "--deep"), ("run", "r.yaml")):
        found = inside(*words, cwd=tmp_path)
        assert found.returncode == 4, (words, found.stdout, found.stderr)
        assert "of the average cannot be read" in found.stdout + found.stderr
    assert not json.loads(inside("status", "a.zarr", "--json", cwd=tmp_path).stdout)["complete"]
    monkeypatch.chdir(tmp_path)
    for onto in (Onto.SAME, Onto.GROWING):
        with pytest.raises((StoreDamage, Refusal)):
            prepare(Path("r.yaml"), [], "local", [], onto)
    assert prepare(Path("r.yaml"), [], "local", [], Onto.ANY)[2] == tmp_path / "a.zarr"


def test_a_store_that_is_no_average_is_named_and_stays(golden, inside):
    folder, _ = golden
    for words, said in (
        ((), "the mean of an average"),
        (("--overwrite",), "one half of an average is not made alone"),
    ):
        refused = inside("run", "r.yaml", "--set", "store.path=a.zarr/mean", *words, cwd=folder)
        assert refused.returncode == 2
        assert said in refused.stderr
        assert "starting over" not in refused.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("workflow: volumes\naverage: {by: state}\n", "`average` is for `workflow: average`"),
        ("workflow: average\naverage: {by: state}\n", "names a column of labels"),
        ("workflow: average\naverage: {wieght: w}\n", "weight"),
        ("workflow: average\nlabels: {table: labels.csv}\naverage: {by: nothing}\n", "no column for `average.by`"),
        ("workflow: average\nlabels: {table: labels.csv}\naverage: {weight: state}\n", "weights are numbers"),
    ],
)
def test_what_cannot_be_averaged_is_refused_and_leaves_nothing(tmp_path, made, inside, text, said):
    folder = made(tmp_path)
    lines = [
        line for line in (folder / "r.yaml").read_text().splitlines() if not line.startswith(("workflow", "average", "labels"))
    ]
    (folder / "r.yaml").write_text(text + "\n".join(lines) + "\n")
    before = sorted(folder.iterdir())
    refused = inside("run", "r.yaml", cwd=folder)
    assert refused.returncode == 2, refused.stderr
    assert said in refused.stderr
    assert sorted(folder.iterdir()) == before


PHASES = {
    "parts": {"at": "cryovox.workflows.averages.parts:PartSession._made", "when": "after", "call": 3},
    "within a part": {"at": "cryovox.workflows.rendering:render_batch", "when": "before", "call": 9},
    "merge": {"at": "cryovox.workflows.averages.merging:merge", "when": "before", "call": 1},
    "between merge and removal": {"at": "cryovox.tasks.store.atomic:Writer.remove", "when": "before", "call": 2},
    "closing": {"at": "cryovox.workflows.averages.finish:write_shard", "when": "after", "call": 2},
    "before the end": {"at": "cryovox.tasks.store.closing:finish", "when": "after", "call": 2},
    "after the end": {"at": "cryovox.workflows.averages.levels:tidy", "when": "before", "call": 1},
}


def struck(folder: Path, fault: dict, act: list[str], *more: str) -> int:
    """A run that is killed as a group at one moment; its exit code."""
    inject = Path(__file__).parents[1] / "chaos" / "inject"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(inject), os.environ.get("PYTHONPATH", "")])),
        "CRYOVOX_CHAOS": json.dumps([{**fault, "act": act}]),
        "CRYOVOX_CHAOS_COUNTS": str(folder / f"counts{time.monotonic_ns()}"),
        "CRYOVOX_CHAOS_FOLDER": str(folder),
    }
    with (folder / "output.txt").open("w") as output:
        process = subprocess.Popen(
            [COMMAND, "run", "r.yaml", "--cluster", "./2.yaml", *more],
            cwd=folder,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=environment,
        )
        family: list[psutil.Process] = []
        while process.poll() is None:
            family = psutil.Process(process.pid).children(recursive=True) or family
            time.sleep(0.05)
    psutil.wait_procs(family, timeout=30)
    return process.returncode


@pytest.mark.slow  # tests/workflows/test_average.py stops in-process after every step
@pytest.mark.parametrize("phase", PHASES)
def test_killed_in_any_phase_it_goes_on_to_the_same_bytes(tmp_path, made, cryovox, inside, golden, digests, phase):
    folder = made(tmp_path)
    assert struck(folder, PHASES[phase], ["signal", "SIGKILL", "group"]) == -signal.SIGKILL, (folder / "output.txt").read_text()
    there = (folder / "a.zarr").exists()
    assert there == (phase == "after the end")
    said = json.loads(inside("status", "a.zarr", "--json", cwd=folder).stdout)
    assert sum(said["frames"].values()) == 98
    assert said["complete"] == there
    assert said["run_state"] == "killed"
    if not there:
        for words in (("verify", "a.zarr"), ("preview", "a.zarr/mean")):
            assert "the average is not finished" in inside(*words, cwd=folder).stderr
    done = cryovox("run", "r.yaml", "--cluster", "./2.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert digests(folder / "a.zarr") == golden[1]
    assert not {"lock", "unfinished", "survey", "average"} & {path.name for path in (folder / "a.zarr.run").iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["within a part", "merge"])
def test_a_killed_worker_is_replaced_in_the_same_run(tmp_path, made, golden, digests, phase):
    folder = made(tmp_path)
    assert struck(folder, PHASES[phase], ["signal", "SIGKILL", "self"]) == 0, (folder / "output.txt").read_text()
    assert digests(folder / "a.zarr") == golden[1]


@pytest.mark.slow
def test_interrupted_it_keeps_its_log_and_says_the_line_that_resumes_it(tmp_path, made, cryovox, golden, digests):
    folder = made(tmp_path)
    code = struck(folder, PHASES["parts"], ["signal", "SIGTERM", "parent"])
    output = (folder / "output.txt").read_text()
    assert code == 75, output
    assert "Resume with:" in output
    assert "Nothing that was done is lost" in output
    assert (folder / "a.zarr.run" / "log.txt").exists()
    refused = cryovox("run", "r.yaml", "--set", "average.weight=null", cwd=folder)
    assert refused.returncode == 2
    assert "average.weight" in refused.stderr
    done = cryovox("run", "r.yaml", "--cluster", "./1.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert digests(folder / "a.zarr") == golden[1]


@pytest.mark.slow
def test_a_replacement_that_is_killed_goes_on_without_overwrite(tmp_path, made, cryovox, inside, golden, digests):
    folder = made(tmp_path)
    first = cryovox("run", "r.yaml", "--cluster", "./2.yaml", "--set", "average.weight=null", cwd=folder)
    assert first.returncode == 0, first.stderr
    old = digests(folder / "a.zarr")
    killed = struck(folder, PHASES["merge"], ["signal", "SIGKILL", "group"], "--overwrite")
    assert killed == -signal.SIGKILL, (folder / "output.txt").read_text()
    assert digests(folder / "a.zarr") == old
    told = inside("status", "a.zarr", cwd=folder).stdout
    assert "frames       98 done\n" in told
    assert re.search(r"a new average takes its place once it is whole: (\d+ pending, )?\d+ done\n", told)
    kept = inside("run", "r.yaml", "--set", "average.weight=null", "--set", "average.by=null", cwd=folder)
    assert kept.returncode == 2
    done = cryovox("run", "r.yaml", "--cluster", "./2.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert digests(folder / "a.zarr") == golden[1]
    assert not {"lock", "unfinished", "survey", "average"} & {path.name for path in (folder / "a.zarr.run").iterdir()}


@pytest.mark.slow
def test_overwrite_starts_over(tmp_path, made, cryovox, golden, digests):
    folder = made(tmp_path)
    shutil.copytree(golden[0] / "a.zarr", folder / "a.zarr")
    assert struck(folder, PHASES["parts"], ["signal", "SIGKILL", "group"]) == 0  # nothing was left to do: nobody was struck
    (folder / "a.zarr" / "mean" / "potential" / "c.0.0.0.0").unlink()
    damaged = cryovox("run", "r.yaml", cwd=folder)
    assert damaged.returncode == 4
    assert "--overwrite" in damaged.stderr
    done = cryovox("run", "r.yaml", "--cluster", "./2.yaml", "--overwrite", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert digests(folder / "a.zarr") == golden[1]
