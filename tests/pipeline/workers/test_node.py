"""Workers of one machine take different cores, and trust no folder that another user could write to."""

import os
import subprocess
import sys
import tempfile

import pytest

from cryovox.pipeline.workers import node, preload

CLAIM = "import sys; from cryovox.pipeline.workers.node import claim_core; print(claim_core(), flush=True); sys.stdin.read()"


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def claiming(folder):
    environment = {**os.environ, "TMPDIR": str(folder)}
    return subprocess.Popen([sys.executable, "-c", CLAIM], env=environment, stdin=-1, stdout=-1, text=True)


def test_as_many_processes_as_cores_share_none(tmp_path):
    processes = [claiming(tmp_path) for _ in range(node.cores())]
    cores = [process.stdout.readline() for process in processes]
    for process in processes:
        process.communicate()
    assert len(set(cores)) == len(cores)


def test_a_killed_process_gives_its_core_back_and_one_too_many_shares(tmp_path):
    processes = [claiming(tmp_path) for _ in range(node.cores())]
    cores = {process.stdout.readline() for process in processes}
    late = claiming(tmp_path)
    assert late.stdout.readline() in cores
    processes[0].kill()
    processes[0].communicate()
    free = claiming(tmp_path)
    others = {os.sched_getaffinity(process.pid).pop() for process in processes[1:]}
    assert int(free.stdout.readline()) not in others
    for process in (*processes[1:], late, free):
        process.communicate()


def test_the_folder_is_closed_to_others(temporary):
    folder = node.own_folder()
    assert folder is not None
    assert folder.parent == temporary
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", ["open to all", "a link", "a file"])
def test_what_somebody_else_may_have_put_there_is_not_trusted(temporary, kind, monkeypatch):
    path = temporary / f"cryovox-{os.getuid()}"
    if kind == "open to all":
        path.mkdir()
        path.chmod(0o777)
    elif kind == "a link":
        (temporary / "elsewhere").mkdir(mode=0o700)
        path.symlink_to(temporary / "elsewhere")
    else:
        path.write_text("")
    assert node.own_folder() is None
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None)  # this process stays where it is
    assert node.claim_core() in os.sched_getaffinity(0)  # works all the same


COMPILE = """\
import sys, warnings
from cryovox.pipeline.workers import preload
preload._remember_compiled_code()
import jax, jax.numpy as jnp, numpy as np
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name))
print(float(jax.jit(lambda x: jnp.sin(x) @ x)(np.ones((7, 7), "f4"))[0, 0]), "/jax/compilation_cache/cache_hits" in hits)
"""


def compiled(folder):
    environment = {**os.environ, "TMPDIR": str(folder), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-W", "error", "-c", COMPILE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_second_process_compiles_nothing(tmp_path):
    value, hit = compiled(tmp_path)
    assert hit == "False"
    assert compiled(tmp_path) == [value, "True"]


def test_a_torn_entry_of_the_cache_is_removed_and_made_again(tmp_path):
    value, _ = compiled(tmp_path)
    for entry in tmp_path.glob("cryovox-*/xla-*/*-cache"):
        entry.write_bytes(entry.read_bytes()[:100])
    assert compiled(tmp_path) == [value, "False"]
    compiled(tmp_path)
    assert compiled(tmp_path) == [value, "True"]


def test_code_for_another_processor_is_kept_apart(temporary, monkeypatch):
    folders = set()
    for model in ("A", "B"):
        monkeypatch.setattr(preload, "processor", lambda model=model: model)
        monkeypatch.setattr(os, "environ", {})
        preload._remember_compiled_code()
        folders.add(os.environ["JAX_COMPILATION_CACHE_DIR"])
    assert len(folders) == 2
