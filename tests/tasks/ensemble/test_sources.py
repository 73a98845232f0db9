"""A file's digest is its content's, and what is wrong with a file is said before it is parsed."""

import hashlib
import os
import shutil

import numpy as np
import pytest
import zarr

from cryovox.tasks.ensemble.sources import MANY, TRAJECTORIES, check, digest, identify, identify_all
from cryovox.tasks.errors import Refusal


@pytest.fixture
def large(tmp_path):
    """65 MiB that take no room on the disk."""
    path = tmp_path / "large.xtc"
    with path.open("wb") as file:
        file.write(b"first")
        file.truncate(65 << 20)
    return path


def test_a_small_files_digest_is_its_sha256(quickstart):
    path = quickstart / "adk.xtc"
    source = identify(path)
    assert source.digest == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    assert (source.name, source.size) == ("adk.xtc", path.stat().st_size)


@pytest.mark.parametrize("place", [0, (65 << 20) - 1], ids=["first byte", "last byte"])
def test_a_sampled_digest_sees_both_ends_and_the_size(large, place):
    before = digest(large)
    assert before.startswith("sampled-sha256:")
    with large.open("r+b") as file:
        file.seek(place)
        file.write(b"X")
    changed = digest(large)
    os.truncate(large, (65 << 20) + 1)
    assert len({before, changed, digest(large)}) == 3


def test_copies_have_one_digest(quickstart, large, tmp_path):
    for path in (quickstart / "adk.pdb", large):
        copy = shutil.copyfile(path, tmp_path / "copy")
        os.utime(copy, (1, 1))
        assert digest(copy) == digest(path)


@pytest.fixture
def folder(tmp_path):
    """A Zarr array on the disk."""
    zarr.save_array(str(tmp_path / "a.zarr"), np.zeros((2, 3, 3)))
    return tmp_path / "a.zarr"


def test_a_folder_has_no_sha256_that_could_be_asked_for(folder, quickstart):
    with pytest.raises(Refusal, match="a folder has no SHA-256") as refused:
        identify_all([quickstart / "adk.pdb"], [folder], {"a.zarr": "0" * 64})
    (problem,) = refused.value.problems
    assert problem.where == f"ensemble.sha256.a.zarr: {folder}"
    assert problem.wanted == "a file"
    assert "remove" in problem.fix


def test_many_files_are_known_together_folders_among_them(folder, quickstart):
    paths = [quickstart / "adk.pdb", *[folder] * MANY]
    (before,) = identify_all([], paths, {})
    assert before.digest == identify_all([], paths, {})[0].digest
    assert before.size == identify(paths[0]).size + MANY * identify(folder).size
    inside = max((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    inside.write_bytes(inside.read_bytes()[:-1] + b"X")
    (after,) = identify_all([], paths, {})
    assert (after.size, after.name) == (before.size, before.name)
    assert after.digest != before.digest


def test_each_bad_file_is_named_with_its_key(tmp_path):
    (tmp_path / "folder.xtc").mkdir()
    (tmp_path / "empty.xtc").touch()
    (tmp_path / "other.txt").write_bytes(b"CDF")
    os.mkfifo(tmp_path / "pipe.xtc")
    for name, what in [
        ("folder.xtc", "folder"),
        ("empty.xtc", "empty"),
        ("pipe.xtc", "no ordinary file"),
        ("other.txt", "kind of file"),
        ("missing.xtc", "no such file"),
        ("nowhere/missing.xtc", "no such file"),
    ]:
        problem = check(tmp_path / name, "ensemble.coordinates", TRAJECTORIES)
        assert problem is not None
        assert what in problem.what
        assert problem.where == f"ensemble.coordinates: {tmp_path / name}"
        assert problem.fix


def test_a_missing_file_is_told_its_neighbours(tmp_path):
    (tmp_path / "adk.xtc").write_bytes(b"x")
    problem = check(tmp_path / "akd.xtc", "ensemble.coordinates", TRAJECTORIES)
    assert problem is not None
    assert "adk.xtc" in problem.fix


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_a_problem(tmp_path):
    path = tmp_path / "secret.xtc"
    path.write_bytes(b"x")
    path.chmod(0)
    problem = check(path, "ensemble.coordinates", TRAJECTORIES)
    assert problem is not None
    assert "cannot be opened" in problem.what
