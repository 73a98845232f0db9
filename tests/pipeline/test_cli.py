"""The command line answers fast, imports what it needs and no more, and says what it would do."""

import json
import resource
import shlex
import subprocess
import sys

import pytest


def test_help_is_fast_and_lists_the_commands(tmp_path, cryovox):
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = cryovox("--help", cwd=tmp_path)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)  # whatever else is running
    assert done.returncode == 0
    for command in ("run", "submit", "plan", "bench", "status", "schema", "doctor"):
        assert command in done.stdout
    assert min(seconds) < 0.3


@pytest.mark.parametrize(
    "arguments", [["--help"], ["schema"], ["run", "no-such-recipe.yaml"], ["plan", "bad.yaml"], ["bench", "bad.yaml"]]
)
def test_help_schema_and_refused_recipes_import_nothing_heavy(tmp_path, arguments):
    (tmp_path / "bad.yaml").write_text("ensemble: {}\n")
    heavy = ("jax", "distributed", "MDAnalysis", "numba", "zarr", "matplotlib")
    code = f"""
import sys
sys.argv = ["cryovox", *{arguments!r}]
from cryovox.pipeline.cli import main
main()
print("HEAVY", [name for name in {heavy!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_the_schema_is_json_with_descriptions(tmp_path, cryovox):
    schema = json.loads(cryovox("schema", cwd=tmp_path).stdout)
    assert "Å" in json.dumps(schema, ensure_ascii=False)
    assert all(section["additionalProperties"] is False for section in schema["$defs"].values())


def test_plan_says_what_run_would_do_and_writes_nothing(tmp_path, planned, recipe):
    before = sorted(tmp_path.iterdir())
    done = planned(recipe(more=", frames: {stop: 10}"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "10 of 98; 10 left" in done.stdout
    assert "voxels (z, y, x) of 2 Å" in done.stdout
    assert sorted(path for path in tmp_path.iterdir() if path.name != "recipe.yaml") == before


def test_set_takes_yaml_values(tmp_path, planned, recipe):
    done = planned(recipe(), "--set", "grid.shape=[64, 50, 72]", "--set", "ensemble.frames={stop: 4}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "64 × 50 × 72" in done.stdout
    assert "4 of 98" in done.stdout


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_harm_nothing(tmp_path, recipe, closed):
    """What is opened next would have their numbers, and a child would take it for its own."""
    command = shlex.join([sys.executable, "-m", "cryovox.pipeline.cli", "inspect", str(recipe()), "--json"])
    done = subprocess.run(["sh", "-c", f"{command} {closed}"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if closed == "<&-":
        assert json.loads(done.stdout)["problems"] == []


def test_the_version_is_the_installed_one(tmp_path, cryovox):
    from importlib.metadata import version

    assert cryovox("--version", cwd=tmp_path).stdout.strip() == version("cryovox")


def test_status_of_what_is_no_store_is_refused(tmp_path, cryovox):
    done = cryovox("status", "nothing.zarr", cwd=tmp_path)
    assert done.returncode == 2
    assert "nothing.zarr" in done.stderr
