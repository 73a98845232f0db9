"""What is installed is what the checkout holds: the package list, the data beside the code, and the wheel itself."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PROJECT["tool"]["setuptools"]["packages"]
DATA = PROJECT["tool"]["setuptools"]["package-data"]


def files() -> list[str]:
    """What a clone holds, and what is new and not ignored: build products of this checkout stay out."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    return sorted({name for name in listed if name and (ROOT / name).is_file()})


try:
    FILES = files()
except (OSError, subprocess.CalledProcessError) as error:
    pytest.skip(f"not a git checkout: {error}", allow_module_level=True)


def folder(package: str) -> PurePosixPath:
    return PurePosixPath(*package.split(".")[1:])


def matches(package: str, pattern: str, name: str) -> bool:
    wanted = folder(package) / pattern
    path = PurePosixPath(name)
    return path.parent == wanted.parent and path.match(wanted.name)


def test_every_folder_of_python_files_is_a_listed_package():
    apart = ("tests/", "docs/", "configs/")  # what configs/ holds in Python is an example of a user's own code
    folders = {str(PurePosixPath(name).parent) for name in FILES if name.endswith(".py") and not name.startswith(apart)}
    assert {str(folder(package)) for package in PACKAGES} == folders
    assert all(str(folder(package) / "__init__.py") in FILES for package in PACKAGES)
    assert sorted(PACKAGES) == PACKAGES


@pytest.mark.parametrize(("package", "pattern"), [(package, pattern) for package in DATA for pattern in DATA[package]])
def test_every_data_pattern_finds_something(package, pattern):
    assert package in PACKAGES
    assert any(matches(package, pattern, name) for name in FILES)


def test_every_table_and_recipe_is_data_of_a_package():
    beside = [
        name
        for name in FILES
        if name.endswith((".csv", ".yaml")) and name.startswith(("pipeline/", "workflows/", "tasks/", "configs/"))
    ]
    assert beside
    for name in beside:
        assert any(matches(package, pattern, name) for package in DATA for pattern in DATA[package]), name


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a clean copy: setuptools leaves build/lib behind, from which deleted modules return."""
    copy = tmp_path_factory.mktemp("copy")
    for name in FILES:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy / name)
    # no isolation, so no network: setuptools is in the `test` extra
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(copy / "dist"), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (copy / "dist").glob("*.whl")
    return built


def test_the_wheel_holds_the_packages_their_data_and_nothing_else(wheel):
    modules = {
        name for name in FILES if name.endswith(".py") and str(PurePosixPath(name).parent) in {str(folder(p)) for p in PACKAGES}
    }
    data = {name for name in FILES for package in DATA for pattern in DATA[package] if matches(package, pattern, name)}
    assert {"py.typed", "__init__.pyi", "configs/clusters/local.yaml", "configs/recipes/quickstart.yaml"} <= data
    held = zipfile.ZipFile(wheel).namelist()
    info = {name for name in held if name.split("/")[0].endswith(".dist-info")}
    assert set(held) - info == {f"cryovox/{name}" for name in modules | data}
    assert any(name.endswith("/licenses/LICENSE") for name in info)


def test_the_wheel_installs_one_top_level_name(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (top,) = [name for name in archive.namelist() if name.endswith("top_level.txt")]
        assert archive.read(top).decode().split() == ["cryovox"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_wheel_works_in_a_fresh_environment(wheel, tmp_path):
    """With all its dependencies (about 1 GB from the index), away from the checkout."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    programs = tmp_path / "venv" / "bin"
    install = subprocess.run([str(programs / "pip"), "install", "-q", str(wheel)], capture_output=True, text=True, check=False)
    assert install.returncode == 0, install.stderr
    away = tmp_path / "away"
    away.mkdir()

    def run(*command: str) -> str:
        done = subprocess.run([str(programs / command[0]), *command[1:]], cwd=away, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "run" in run("cryovox", "--help")
    assert run("python", "-c", "import cryovox; print(cryovox.__file__)").startswith(str(tmp_path / "venv"))
    assert "ClusterProfile" in run(
        "python", "-c", "from cryovox.pipeline.clusters.profile import load_profile; print(load_profile('local'))"
    )
    assert '"$defs"' in run("cryovox", "schema")
    for name in ("tasks", "workflows", "pipeline"):
        run("python", "-c", f"import importlib.util as u; assert u.find_spec('{name}') is None")
    shutil.rmtree(tmp_path / "venv")
