"""A cluster profile is a shipped name or a file; what is wrong in it is refused as in a recipe."""

import dataclasses

import pytest

from cryovox.pipeline.clusters.profile import KINDS, PROFILES, LocalProfile, load_profile
from cryovox.tasks.errors import Refusal


@pytest.fixture
def profile(tmp_path):
    def write(text):
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return str(path)

    return write


def test_the_shipped_local_profile_is_the_default():
    assert load_profile("local") == LocalProfile()


SHIPPED = sorted(path.stem for path in PROFILES.glob("*.yaml"))
NEEDED = {"scheduler": ["address=tcp://10.0.0.1:8786"]}
"""What a profile cannot know."""


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_profile_is_valid_and_shows_every_key(name):
    profile = load_profile(name, NEEDED.get(name, []))
    text = (PROFILES / f"{name}.yaml").read_text()
    assert [field.name for field in dataclasses.fields(profile) if f"\n{field.name}: " not in text] == []


def test_every_kind_is_shipped_and_every_section_says_which_it_is():
    profiles = [load_profile(name, NEEDED.get(name, [])) for name in SHIPPED]
    assert {profile.kind for profile in profiles} == set(KINDS)
    assert {type(profile) for profile in profiles} == set(KINDS.values())


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        ([], "no one address"),
        (["address=tcp://h:1", "scheduler_file=s.json"], "no one address"),
        (["address=h:1"], "bad value for `address`"),
        (["address=ucx://h:1"], "bad value for `address`"),
        (["address=tls://h:1", "tls.ca_file=a"], "is missing"),
        (["adress=tcp://h:1"], "unknown key"),
    ],
)
def test_a_scheduler_has_one_address_and_its_certificates(overrides, what):
    with pytest.raises(Refusal, match=what) as refusal:
        load_profile("scheduler", overrides)
    assert "scheduler.yaml" in str(refusal.value) or "--cluster-set" in str(refusal.value)


def test_a_key_of_the_command_line_overrides_the_file(profile):
    assert load_profile(profile("workers: 4\n"), ["workers=2", "threads=1"]) == LocalProfile(workers=2, threads=1)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("kind: gpu-node\ngpus: 0", "gpus"),
        ("kind: gpu-node\ndevice_memory: 1.5", "device_memory"),
        ("kind: gpu-node\ncompress: gpu", "compress"),
        ("kind: gpu-node\nworkers: 2", "workers"),
        ("kind: slurm\nwalltime: 12h", "walltime"),
        ("kind: slurm\nmemory: 8", "memory"),
        ("kind: slurm\nmemory: auto", "memory"),
        ("kind: slurm\ngpus: 2", "gpus"),
        ("kind: slurm\nadapt: {minimum: 5, maximum: 4}", "adapt.maximum"),
        ("kind: slurm\ndriver: {memory: much}", "driver.memory"),
        ("kind: slurm\ndriver: {walltime: 7}", "driver.walltime"),
        ("kind: slurm\ndirectives: --exclusive", "directives"),
        ("kind: [local]", "kind"),
    ],
)
def test_what_no_cluster_has_is_refused_at_its_line(profile, line, what):
    path = profile(f"{line}\n")
    with pytest.raises(Refusal) as refusal:
        load_profile(path)
    (problem,) = refusal.value.problems
    assert problem.where == f"{path}:{line.count(chr(10)) + 1}"
    assert f"`{what}`" in problem.what


def test_a_path_names_a_file(profile):
    path = profile("workers: 4\nmemory_limit: 2.5GiB\ndashboard_port: 0\n")
    assert load_profile(path) == LocalProfile(workers=4, memory_limit="2.5GiB", dashboard_port=0)


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
