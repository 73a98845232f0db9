"""A file of the store is wholly there or not there, whatever happens while it is written."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cryovox.tasks.store import atomic


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def test_a_write_makes_folders_and_one_file(tmp_path: Path):
    atomic.write(tmp_path, "c/7/0", b"abc")
    assert _files(tmp_path) == [tmp_path / "c" / "7" / "0"]
    assert (tmp_path / "c" / "7" / "0").read_bytes() == b"abc"


def test_pieces_shorter_and_longer_than_the_buffer_come_one_after_the_other(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(atomic, "BUFFER", 16)
    pieces = [bytes([n]) * n for n in (1, 16, 3, 0, 40, 15, 2, 200, 4)]
    atomic.write(tmp_path, "0", *pieces)
    assert (tmp_path / "0").read_bytes() == b"".join(pieces)


def test_bytes_are_durable_before_the_name_and_the_name_before_the_return(tmp_path: Path, monkeypatch):
    atomic.write(tmp_path, "c/0", b"old")
    events = []
    replace = Path.replace

    def fsync(descriptor: int) -> None:
        there = Path(f"/proc/self/fd/{descriptor}").resolve()
        events.append(("sync", "folder") if there.is_dir() else ("sync", there.read_bytes()))

    def rename(self: Path, target: Path) -> Path:
        events.append(("rename", target.read_bytes()))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", rename)
    atomic.write(tmp_path, "c/0", b"new")
    assert events == [("sync", b"new"), ("rename", b"old"), ("sync", "folder")]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_failed_write_leaves_what_was_there_and_nothing_else(tmp_path: Path, monkeypatch, error: int):
    atomic.write(tmp_path, "c/7/0", b"old")

    def fail(descriptor: int) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "fsync", fail)
    for key in ("c/7/0", "c/7/1"):
        with pytest.raises(OSError, match=os.strerror(error)):
            atomic.write(tmp_path, key, b"new")
    assert [(p.name, p.read_bytes()) for p in _files(tmp_path)] == [("0", b"old")]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch):
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic.write(tmp_path, "0", b"new")
    assert _files(tmp_path) == []


def test_leftovers_of_killed_writers_are_swept_by_the_next(tmp_path: Path):
    atomic.write(tmp_path, "c/0", b"a")
    atomic.write(tmp_path, "c/1", b"b")
    (tmp_path / "c" / ".partial").mkdir()
    for left in ("0.123", "1.123", "01.123"):
        (tmp_path / "c" / ".partial" / left).write_bytes(b"torn")
    atomic.write(tmp_path, "c/0", b"c")
    assert [p.name for p in _files(tmp_path)] == ["01.123", "1.123", "0", "1"]
    atomic.remove(tmp_path, "c/1")
    atomic.remove(tmp_path, "c/01")
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["0"]


def test_writers_of_one_folder_do_not_take_it_from_each_other(tmp_path: Path):
    """Each removes the folder of unfinished files when it finds it empty, while others are about to use it."""
    keys = [f"c.{i}" for i in range(400)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: atomic.write(tmp_path, key, key.encode(), b"!"), keys))
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(keys)
    assert all((tmp_path / key).read_text() == f"{key}!" for key in keys)


def test_nothing_is_written_into_a_store_that_is_gone(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        atomic.write(tmp_path / "potential", "c/0", b"a")
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_can_be_removed(tmp_path: Path):
    atomic.remove(tmp_path, "c/0")
    assert list(tmp_path.iterdir()) == []


WRITER = """
import sys
from pathlib import Path
from cryovox.tasks.store import atomic
print("ready", flush=True)
for i in range(10**9):
    atomic.write(Path(sys.argv[1]), f"c/{i % 4}", bytes([i % 251]) * 3_000_000)
"""


def test_a_killed_writer_leaves_no_torn_file(tmp_path: Path):
    rng = random.Random(0)
    for _ in range(5):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, cwd="/")
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(rng.uniform(0.01, 0.06))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        for file in _files(tmp_path):
            if file.parent.name != ".partial":
                data = file.read_bytes()
                assert data == data[:1] * 3_000_000
    for i in range(4):
        atomic.write(tmp_path, f"c/{i}", b"healed")
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["0", "1", "2", "3"]
