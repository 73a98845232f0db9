"""Processes that stand still before a system call: each is a thread, and dies there, or wakes up later in another world."""

import io
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

from cryovox.tasks.store import lock, template

BEGUN: dict[int, Path] = {}
"""The empty stores: Zarr takes most of a second for twenty."""
DEAD: set[str] = set()
"""Owners of locks."""


class Killed(BaseException):
    """The process is no more: not an error that anything may handle."""


class Process(threading.Thread):
    """Does `work`, and stands still before its `step`-th system call that changes a file; 0 is never."""

    def __init__(self, work: Callable[[], object], step: int):
        super().__init__(daemon=True)
        self.work, self.left, self.dead, self.torn = work, step, False, False
        self.still, self.on, self.over = threading.Event(), threading.Event(), False
        self.owners: list[str] = []
        self.answer: object = None
        self.error: BaseException | None = None
        self.start()
        self.still.wait()

    def run(self) -> None:
        try:
            self.answer = self.work()
        except BaseException as error:  # what came of it is looked at by whoever started it
            self.error = error
        self.over = True
        self.still.set()

    def before_a_call(self, descriptor: int | None = None) -> None:
        self.left -= 1
        if self.left == 0 and not self.dead:
            self.still.set()
            self.on.wait()
            if self.dead and self.torn and descriptor is not None:
                os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
        if self.dead:  # so no `finally` changes anything either
            raise Killed

    def ends(self, dead: bool, torn: bool = False) -> BaseException | None:
        """Goes on, or dies here, with a file half written where it is at one."""
        self.dead, self.torn = dead, torn
        self.on.set()
        self.join()
        return self.error


@contextmanager
def watched() -> Iterator[None]:
    """System calls are seen; nothing waits for the disk; an owner is dead where a test says so, or silent for long."""
    with ExitStack() as patches:

        def hook(module, name, changes=lambda *a, **k: True, real=None) -> None:
            real = real or getattr(module, name)

            def call(*arguments, **more):
                process = threading.current_thread()
                if isinstance(process, Process) and changes(*arguments, **more):
                    process.before_a_call(_file(arguments[0]) if name == "fsync" else None)
                return real(*arguments, **more)

            patches.enter_context(mock.patch.object(module, name, call))

        for name in ("replace", "rename", "unlink", "mkdir", "rmdir", "link"):
            hook(os, name)
        hook(os, "fsync", real=lambda descriptor: None)
        hook(os, "open", lambda path, flags, *a, **k: flags & os.O_CREAT)
        hook(io, "open", lambda file, mode="r", *a, **k: mode[0] in "xwa")
        for owner, name, instead in (
            (lock, "_surely_dead", lambda owner, me: owner.uuid in DEAD),
            (lock, "silent_for", lambda file: 1e4),
            (lock.Heartbeat, "start", lambda self: None),
            (lock, "_myself", _named(lock._myself)),
            (template, "_made", _copied(template._made)),
        ):
            patches.enter_context(mock.patch.object(owner, name, instead))
        try:
            yield
        finally:
            for folder in BEGUN.values():
                shutil.rmtree(folder.parent)
            BEGUN.clear()


def _file(descriptor: int) -> int | None:
    """None for a folder."""
    return descriptor if Path(f"/proc/self/fd/{descriptor}").is_file() else None


def _named(myself):
    """Whoever takes a lock is known by its identity."""

    def named():
        owner, process = myself(), threading.current_thread()
        if isinstance(process, Process):
            process.owners.append(owner.uuid)
        return owner

    return named


def _copied(made):
    """The empty store is made once for each number of frames, and copied file by file."""

    def copied(writer, beginning):
        n, folder = beginning.layout.n_frames, writer.folder / "begun"
        if n not in BEGUN:
            BEGUN[n] = Path(tempfile.mkdtemp()) / "begun"
            shutil.copytree(made(writer, beginning), BEGUN[n])
        shutil.rmtree(folder, ignore_errors=True)
        with writer.fenced():
            folder.mkdir()
            for there in sorted(BEGUN[n].rglob("*")):
                here = folder / there.relative_to(BEGUN[n])
                here.mkdir() if there.is_dir() else here.write_bytes(there.read_bytes())
        return folder

    return copied
