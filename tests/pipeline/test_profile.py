"""A cluster profile is a shipped name or a file; what is wrong in it is refused as in a recipe."""

import dataclasses

import pytest

from cryovox.pipeline.cluster import PROFILES, ClusterProfile, load_profile
from cryovox.tasks.errors import Refusal


@pytest.fixture
def profile(tmp_path):
    def write(text):
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return str(path)

    return write


def test_the_shipped_local_profile_is_the_default():
    assert load_profile("local") == ClusterProfile()


def test_the_shipped_local_profile_shows_every_key():
    text = (PROFILES / "local.yaml").read_text()
    assert all(f"\n{field.name}: " in text for field in dataclasses.fields(ClusterProfile))


def test_every_shipped_profile_is_valid():
    for path in PROFILES.glob("*.yaml"):
        load_profile(path.stem)


def test_a_path_names_a_file(profile):
    path = profile("workers: 4\nmemory_limit: 2.5GiB\ndashboard_port: 0\n")
    assert load_profile(path) == ClusterProfile(workers=4, memory_limit="2.5GiB", dashboard_port=0)


@pytest.mark.parametrize("name", ["lcoal", "", "slurm2"])
def test_an_unknown_name_lists_the_names_there_are(name):
    with pytest.raises(Refusal, match=r"one of: .*local"):
        load_profile(name)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(Refusal, match="no such file"):
        load_profile(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    "line",
    [
        "kind: slrum",
        "workers: 0",
        "workers: -1",
        "workers: 1.5",
        "workers: true",
        "workers: all",
        "memory_limit: 4",
        "memory_limit: 4 gigs",
        "memory_limit: -1GiB",
        "memory_limit: ''",
        "dashboard_port: 65536",
        "dashboard_port: -1",
        "window: 0",
        "windows: 3",
    ],
)
def test_what_no_machine_has_is_refused_at_its_line(profile, line):
    path = profile(f"# mine\n{line}\n")
    with pytest.raises(Refusal) as refusal:
        load_profile(path)
    (problem,) = refusal.value.problems
    assert problem.where == f"{path}:2"
    assert line.split(":")[0] in problem.what


@pytest.mark.parametrize("limit", ["auto", "4GiB", "500MB", "1.5 GiB", "123456789B", "2TiB"])
def test_memory_limits_have_a_unit(profile, limit):
    assert load_profile(profile(f"memory_limit: {limit}\n")).memory_limit == limit
