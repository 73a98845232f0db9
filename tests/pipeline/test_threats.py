"""P22: a recipe, a profile or an input runs no code that it does not name, and reaches no file beyond those that it names.

Ways that other files try are listed in pipeline/clusters/README.md. A trap is a command that would leave `sprung` in its folder.
"""

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cryovox.pipeline import inputs
from cryovox.pipeline.cli import main
from cryovox.pipeline.clusters import slurm
from cryovox.pipeline.clusters.attached import check as check_attached
from cryovox.pipeline.clusters.profile import LocalProfile, SchedulerProfile, SlurmProfile, TlsSettings, load_profile
from cryovox.pipeline.clusters.sbatch import clear, own
from cryovox.pipeline.clusters.submit import driver_script
from cryovox.pipeline.documents.recipe import load_recipe
from cryovox.pipeline.export import trajectory
from cryovox.pipeline.open import rebuilt
from cryovox.pipeline.prepare import prepare
from cryovox.tasks.decoding.formats import open_frames
from cryovox.tasks.decoding.frame_file import BadFrame
from cryovox.tasks.ensemble.decoded import DecodedEnsemble
from cryovox.tasks.ensemble.own_class import OwnClass
from cryovox.tasks.errors import Refusal
from cryovox.tasks.store.lock import acquire
from cryovox.workflows.kinds import open_ensemble
from cryovox.workflows.recipe import store_deciding

TRAP = "touch sprung"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working directory, in which no trap is sprung."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not list(tmp_path.rglob("sprung"))


@pytest.fixture
def refused(monkeypatch, capfd):
    """What `cryovox run ARGUMENTS` says when it refuses, in this process."""

    def call(*arguments: str | Path) -> str:
        monkeypatch.setattr(sys, "argv", ["cryovox", "run", *map(str, arguments)])
        assert main() == 2
        text = capfd.readouterr().err
        assert "Traceback" not in text
        return text

    return call


TAGS = ["!!python/object/apply:os.system [touch sprung]", "!!python/name:os.system", "!include /etc/passwd", "!ENV ${HOME}"]


@pytest.mark.parametrize("tag", TAGS)
def test_tags_are_refused_wherever_yaml_is_read(refused, recipe, folder, tag):
    (folder / "own.yaml").write_text(f"kind: local\nworkers: {tag}\n")
    assert "tags are not allowed" in refused(recipe(extra=f"labels: {tag}\n"))
    assert "tags are not allowed" in refused(recipe(), "--set", f"labels={tag}")
    assert "tags are not allowed" in refused(recipe(), "--cluster", "./own.yaml")
    assert "tags are not allowed" in refused(recipe(), "--cluster-set", f"workers={tag}")


def test_a_merge_key_merges_nothing(refused, recipe):
    assert "unknown key `<<`" in refused(recipe(extra="x: &a {store: {path: /elsewhere}}\n<<: *a\n"))


@pytest.mark.parametrize("name", ["$HOME/x", "${HOME}/x", "~/x", "%h/x", "{topology}/x", "$(touch sprung)/x", "`touch sprung`/x"])
def test_templates_are_names(refused, recipe, folder, monkeypatch, name):
    """Of the store and of inputs alike: nothing is filled in."""
    monkeypatch.setenv("HOME", str(folder / "home"))
    (folder / "home" / "x").mkdir(parents=True)
    assert str(folder / Path(name).parent) in refused(recipe(), "--set", f"store.path={json.dumps(name)}")
    assert str(folder / name) in refused(recipe(), "--set", f"ensemble.coordinates={json.dumps(name + '.xtc')}")
    (folder / name).parent.mkdir(exist_ok=True)
    *_, store = prepare(recipe(), [f"store.path={json.dumps(name)}"], "local", ())
    assert store == folder / name


@pytest.mark.parametrize("way", ["precious", "link", "in/link", "other/../precious", "precious/.", "./in/../link/"])
def test_no_way_to_what_is_not_a_store_lets_overwrite_remove_it(refused, recipe, folder, way):
    (folder / "precious").mkdir()
    (folder / "precious" / "data").write_text("years of work")
    (folder / "in").mkdir()
    (folder / "other").mkdir()
    (folder / "link").symlink_to("precious")
    (folder / "in" / "link").symlink_to(folder / "precious")
    said = refused(recipe(), "--set", f"store.path={way}", "--overwrite")
    assert f"where:  {folder / 'precious'}" in said, "the place that is meant is named"
    assert sorted(path.name for path in folder.glob("precious*")) == ["precious"]
    assert (folder / "precious" / "data").read_text() == "years of work"


KEYS = {
    "topology": "ensemble: {topology: BAD.pdb, coordinates: DATA/adk.xtc}",
    "coordinates": "ensemble: {topology: DATA/adk.pdb, coordinates: BAD.xtc}",
    "one of a pattern": "ensemble: {topology: DATA/adk.pdb, coordinates: 'BA?.xtc'}",
    "map": "ensemble: {map: BAD.mrc}\nposes: {random: true, count: 2}",
    "files": "ensemble: {parametrization: own:Own, frames: 2, files: {weights: BAD.bin}}",
    "each": "ensemble: {parametrization: own:Own, each: {z: BAD.npy}}",
    "poses": "ensemble: {topology: DATA/adk.pdb, coordinates: DATA/adk.xtc}\nposes: {table: BAD.csv}",
    "labels": "ensemble: {topology: DATA/adk.pdb, coordinates: DATA/adk.xtc}\nlabels: {table: BAD.csv}",
}


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
@pytest.mark.parametrize("key", KEYS)
def test_an_input_that_is_no_file_is_refused_and_not_waited_for(refused, folder, quickstart, key, kind):
    text = KEYS[key].replace("DATA", str(quickstart))
    bad = folder / re.search(r"BA[D?]\.\w+", text)[0].replace("?", "D")
    if kind == "pipe":
        os.mkfifo(bad)
    elif kind == "device":
        bad.symlink_to("/dev/zero")
    else:
        bad.mkdir()
    (folder / "own.py").write_text("import os\nos.system('touch sprung')\n")
    (folder / "bad.yaml").write_text(f"{text}\nstore: {{path: out.zarr}}\n")
    said = refused("bad.yaml")
    if key == "one of a pattern":  # which means files
        assert "no file has such a name" in said
    elif kind == "folder":
        assert ("the folder holds no structures" if key == "coordinates" else "this is a folder") in said
    else:
        assert "this is no ordinary file" in said
        assert bad.name in said


class Bomb:
    def __reduce__(self):
        return os.system, (TRAP,)


def test_a_table_of_pickles_is_refused(refused, folder):
    np.save(folder / "z.npy", np.array([Bomb(), Bomb()], object))
    (folder / "raw.npy").write_bytes(pickle.dumps(Bomb()))
    (folder / "own.py").write_text("import os\nos.system('touch sprung')\n")
    for name in ("z.npy", "raw.npy"):
        (folder / "r.yaml").write_text(
            f"ensemble: {{parametrization: own:Own, each: {{z: {name}}}}}\nstore: {{path: out.zarr}}\n"
        )
        assert "the table cannot be read" in refused("r.yaml")


def external_link(h5py, group, values):
    group["value"] = h5py.ExternalLink("other.h5", "v")


def external_link_above(h5py, group, values):
    del group.file["particles/all/position"]
    group.file["particles/all/position"] = h5py.ExternalLink("other.h5", "/")


def link_to_a_pipe(h5py, group, values):
    os.mkfifo("pipe")
    group["value"] = values
    group["another"] = h5py.ExternalLink("pipe", "v")


def external_values(h5py, group, values):
    values.tofile("raw")
    group.create_dataset("value", values.shape, "f4", external=[("raw", 0, values.nbytes)])


def virtual_values(h5py, group, values):
    layout = h5py.VirtualLayout(values.shape, "f4")
    layout[:] = h5py.VirtualSource("other.h5", "v", values.shape)
    group.create_virtual_dataset("value", layout)


@pytest.mark.parametrize(
    "way", [external_link, external_link_above, link_to_a_pipe, external_values, virtual_values], ids=lambda way: way.__name__
)
def test_an_hdf5_file_that_takes_values_from_another_is_refused(folder, way):
    """The store's digests would not know the other, and nobody named it."""
    h5py = pytest.importorskip("h5py", reason="the extra `h5` is not installed")
    values = np.ones((2, 5, 3), np.float32)
    with h5py.File("other.h5", "w") as file:
        file["v"] = file["value"] = values
    with h5py.File("t.h5md", "w") as file:
        file.create_group("h5md")
        way(h5py, file.create_group("particles/all/position"), values)
    with pytest.raises(BadFrame, match=r"in another file: (other\.h5|raw|pipe)"):
        open_frames("t.h5md", "h5md", None)


def test_links_within_an_hdf5_file_are_followed(folder):
    h5py = pytest.importorskip("h5py", reason="the extra `h5` is not installed")
    with h5py.File("t.h5md", "w") as file:
        file.create_group("h5md")
        file["elsewhere"] = np.ones((2, 5, 3), np.float32)
        group = file.create_group("particles/all/position")
        group["value"] = h5py.SoftLink("/elsewhere")
        group["round"] = h5py.SoftLink("/particles")
        group["nowhere"] = h5py.SoftLink("/nothing")
        file["particles/again"] = file["particles"]
    with open_frames("t.h5md", "h5md", None) as frames:
        assert frames.n_atoms == 5


OWN = "import os\nos.system('touch sprung')\n"


@pytest.mark.parametrize("name", ["../evil:Own", "/evil:Own", "..evil:Own", ".evil:Own", "evil.py:Own", "evil", "os;evil:Own"])
def test_a_class_has_a_modules_name_and_no_path(refused, folder, name):
    (folder / "evil.py").write_text(OWN)
    (folder / "below").mkdir()
    (folder / "below" / "r.yaml").write_text(f"ensemble: {{parametrization: '{name}', frames: 2}}\nstore: {{path: out.zarr}}\n")
    assert "ensemble.parametrization" in refused(folder / "below" / "r.yaml")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("subprocess:Popen", "no parametrization"),
        ("numpy:load", "no parametrization"),
        ("builtins:exec", "ensemble.parametrization"),
    ],
)
def test_what_is_named_is_called_only_where_it_is_a_parametrization(folder, name, said):
    (folder / "r.yaml").write_text(
        f"ensemble: {{parametrization: '{name}', frames: 2, arguments: {{args: 'touch sprung'}}}}\nstore: {{path: out.zarr}}\n"
    )

    def made() -> None:
        loaded = load_recipe(folder / "r.yaml")
        ensemble = open_ensemble(loaded.recipe, loaded.folder)
        assert isinstance(ensemble, DecodedEnsemble)
        OwnClass(ensemble)

    with pytest.raises(Refusal, match=said):
        made()


def test_a_recipe_that_someone_changed_in_the_runs_folder_names_no_code_to_export(folder, monkeypatch):
    (folder / "evil.py").write_text(OWN)
    (folder / "out.zarr.run").mkdir()
    forged = {"ensemble": {"parametrization": "evil:Own", "frames": 2}, "store": {"path": "out.zarr"}}
    said = {"name": "r", "folder": str(folder), "recipe": forged}
    (folder / "out.zarr.run" / inputs.FILE).write_text(json.dumps(said))
    monkeypatch.setattr(trajectory, "read_layout", lambda store: (None, {}))
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(Refusal, match="not drawn from atoms"):
        trajectory.placed(folder / "out.zarr", folder / "x.dcd", slice(None))
    assert "evil" not in sys.modules


def test_a_store_that_came_with_its_run_folder_names_no_code_to_reproduce(folder, monkeypatch):
    """Whoever made the store made both: that they agree proves nothing."""
    (folder / "evil.py").write_text(OWN)
    (folder / "out.zarr.run").mkdir()
    forged = {"ensemble": {"parametrization": "evil:Own", "frames": 2}, "store": {"path": "out.zarr"}}
    said = {"name": "r", "folder": str(folder), "recipe": forged}
    (folder / "out.zarr.run" / inputs.FILE).write_text(json.dumps(said))
    recipe = store_deciding(inputs.remembered(folder / "out.zarr").recipe)
    monkeypatch.setattr(rebuilt, "read_layout", lambda store: (None, {"recipe": recipe}))
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(Refusal, match="a class of somebody's") as refusal:
        rebuilt.rebuilt(folder / "out.zarr")
    assert "--inputs" in str(refusal.value)
    assert "evil" not in sys.modules


@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir], ids=["pipe", "device", "folder"]
)
def test_a_profile_waits_for_no_pipe_and_reads_no_device(folder, make):
    bad = folder / "bad"
    make(bad)
    name = str(bad)
    for profile in (
        SchedulerProfile(scheduler_file=name),
        SchedulerProfile(address="tls://h:1", tls=TlsSettings(ca_file=name, cert=name, key=name)),
    ):
        with pytest.raises(Refusal, match="no ordinary file"):
            check_attached(profile)
    bad.unlink() if not bad.is_dir() else bad.rmdir()
    bad.write_bytes(b"x" * (1 << 21))
    with pytest.raises(Refusal, match="too large"):
        check_attached(SchedulerProfile(scheduler_file=name))


SHELL = ["a; touch sprung", "$(touch sprung)", "`touch sprung`", "a\ntouch sprung", "a && touch sprung", "a' 'b"]


@pytest.mark.parametrize("text", SHELL)
@pytest.mark.parametrize("key", ["partition", "account", "walltime", "memory", "driver.memory", "driver.walltime"])
def test_the_words_of_a_slurm_profile_hold_nothing_for_a_shell(key, text):
    with pytest.raises(Refusal, match=f"bad value for `{key}`"):
        load_profile("slurm", [f"{key}={json.dumps(text)}"])


@pytest.mark.parametrize("text", SHELL)
def test_a_stores_name_is_a_name_in_every_script(folder, text):
    """Both are run by a real shell in which Python does nothing; what no line of a script can hold is refused."""
    run = folder / f"{text}.zarr.run"
    scripts = []
    try:
        scripts.append(driver_script(SlurmProfile(), [text], run, folder, "true", {}))
        pytest.importorskip("dask_jobqueue", reason="the extra `slurm` is not installed")
        run.mkdir()
        with slurm.certificates(run) as security:
            scripts.append(slurm.worker_script(SlurmProfile(), run, {}, security, python="true"))
    except Refusal:
        assert "\n" in text
    for script in scripts:
        done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False, timeout=30)
        assert (done.returncode, done.stderr) == (0, "")


INDIRECT = ["${a:=$}${b:=${a}(touch sprung)}${b@P}", "$[$(touch sprung)]", "${a[$(touch sprung)]}", "$((a[$(touch sprung)]))"]


@pytest.mark.parametrize("text", [*SHELL, *INDIRECT, '"; touch sprung; "', "\\$(touch sprung)"])
def test_the_nodes_folder_has_variables_filled_in_and_nothing_run(folder, text):
    word = slurm._expanding(f"$TMPDIR/${{TMPDIR}}/{text}")
    environment = {**os.environ, "TMPDIR": "/here"}
    shown = subprocess.run(["bash", "-c", f"printf %s {word}"], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout == f"/here//here/{text.replace('${a}', '')}"


def test_lock_and_keys_are_this_users_alone_from_their_first_byte(folder, monkeypatch):
    """With the most liberal umask there is; a file is looked at when it is made, before anything is written."""
    made, real = {}, os.open

    def opened(path, flags, mode=0o777, **more):
        descriptor = real(path, flags, mode, **more)
        if flags & os.O_CREAT:
            parent = Path(path).parent.stat().st_mode & 0o777
            made[Path(path).name] = (os.fstat(descriptor).st_mode & 0o777, os.fstat(descriptor).st_size, parent)
        return descriptor

    run, before = folder / "x.zarr.run", os.umask(0o002)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", opened)
            with acquire(run) as lock:
                assert (run / "lock").stat().st_mode & 0o777 == 0o600
                with slurm.certificates(lock.run_folder) as security:
                    told = security.get_tls_config_for_role("worker")
                    assert {Path(told[key]).stat().st_mode & 0o777 for key in ("cert", "key", "ca_file")} == {0o600}
    finally:
        os.umask(before)
    assert {made[f"{name}.pem"] for name in ("cert", "key", "ca_file")} == {(0o600, 0, 0o700)}
    assert [(mode, size) for name, (mode, size, _) in made.items() if name.startswith(".lock")] == [(0o600, 0)]


def test_who_exchanges_the_workers_keys_brings_none_that_the_scheduler_knows(folder):
    with slurm.certificates(folder) as security:
        for role in ("scheduler", "client"):
            assert all("\n" in text for text in security.get_tls_config_for_role(role).values() if text)


def test_keys_and_scripts_go_into_no_folder_that_others_made(folder, monkeypatch):
    victim, run = folder / "victim", folder / "out.zarr.run"
    (victim / "tls").mkdir(parents=True)
    (victim / "tls" / "precious").write_text("a key")
    run.symlink_to(victim)
    clear(run)
    assert (victim / "tls" / "precious").exists()
    with pytest.raises(Refusal, match="a link"), slurm.certificates(run):
        pass
    assert (victim / "tls" / "precious").exists()
    own(victim)
    victim.chmod(0o777)
    with pytest.raises(Refusal, match="everyone may write"):
        own(victim)
    victim.chmod(0o755)
    monkeypatch.setattr(os, "getuid", lambda: victim.stat().st_uid + 1)
    with pytest.raises(Refusal, match="a folder of user"):
        own(victim)


def test_the_trap_works(folder):
    pickle.loads(pickle.dumps(Bomb()))
    (folder / "sprung").unlink()
    assert LocalProfile() == load_profile("local")
