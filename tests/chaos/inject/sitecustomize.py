"""Faults from outside: this folder on PYTHONPATH makes named functions fail, at their n-th call, in any process of a run.

`CRYOVOX_CHAOS` holds JSON, a list of faults: {"at": "module:name", "when": "before" | "after" | "nan", "call": n,
"act": [what, …], "of": "worker" | "driver" | "any", "every": false}. Calls are counted over all processes, in the folder
`CRYOVOX_CHAOS_COUNTS`; with `every` each call from the n-th on is struck. The product knows nothing of it.
"""

import importlib.abc
import importlib.util
import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

FAULTS = json.loads(os.environ.get("CRYOVOX_CHAOS", "[]"))
COUNTS = os.environ.get("CRYOVOX_CHAOS_COUNTS", "")


def _here(of):
    worker = any("spawn_main" in word or word == "--multiprocessing-fork" for word in sys.orig_argv)
    return of == "any" or (of == "worker") == worker


def _number(name):
    """Which call this is, of all processes': the first file that is not there yet."""
    folder = Path(COUNTS, name.replace(":", "."))
    folder.mkdir(parents=True, exist_ok=True)
    n = sum(1 for _ in folder.iterdir())
    while True:
        n += 1
        with suppress(FileExistsError):
            (folder / str(n)).touch(exist_ok=False)
            return n


def _damage(how, name):
    """What befalls a file in the midst of a run; `name` is relative to the arena's folder."""
    path = Path(os.environ["CRYOVOX_CHAOS_FOLDER"], name)
    data = bytearray(path.read_bytes())
    if how == "delete":
        path.unlink()
    elif how == "truncate":
        with path.open("r+b") as file:
            file.truncate(len(data) // 2)
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


def _act(what, *more):
    if what == "signal":
        who = {"self": os.getpid(), "parent": os.getppid(), "group": 0}[more[1]]
        (os.kill if who else lambda _, number: os.killpg(os.getpgrp(), number))(who, getattr(signal, more[0]))
        time.sleep(0.5)  # one that may be handled is
    elif what == "exit":
        os._exit(int(more[0]))
    elif what == "raise":
        raise (
            OSError(int(more[0]), os.strerror(int(more[0])))
            if more[0].isdigit()
            else {"ValueError": ValueError}[more[0]]("chaos")
        )
    elif what == "hold":  # the interpreter, so that no heartbeat leaves the process
        import ctypes

        ctypes.PyDLL(None).sleep(int(more[0]))
    elif what == "sleep":
        time.sleep(float(more[0]))
    elif what == "clock":
        STEP[0] = float(more[0])
    elif what in ("truncate", "flip", "delete"):
        _damage(what, more[0])
    elif what != "count":
        raise KeyError(what)


def _struck(name, function, faults):
    def call(*arguments, **more):
        number = _number(name)
        mine = [
            f for f in faults if (number >= f["call"] if f.get("every") else number == f["call"]) and _here(f.get("of", "any"))
        ]
        for fault in mine:
            if fault["when"] == "before":
                _act(*fault["act"])
        answer = function(*arguments, **more)
        for fault in mine:
            if fault["when"] == "after":
                _act(*fault["act"])
            elif fault["when"] == "nan":
                answer.values[...] = float("nan")
        return answer

    return call


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        faults = [fault for fault in FAULTS if fault["at"].split(":")[0] == name]
        if not faults:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            for at in {fault["at"] for fault in faults}:
                *owners, last = at.split(":")[1].split(".")
                owner = module
                for one in owners:
                    owner = getattr(owner, one)
                setattr(owner, last, _struck(at, getattr(owner, last), [fault for fault in faults if fault["at"] == at]))

        spec.loader.exec_module = exec_module
        return spec


def _demand(name):
    """A fault in a module that is nowhere would never strike: the process ends at once, and so does the test. Imports nothing."""
    package, *below = name.split(".")
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        place = Path(folder, *below)
        if place.with_suffix(".py").is_file() or (place / "__init__.py").is_file():
            return
    sys.exit(f"chaos: there is no module {name}")


if any(fault["act"][:1] == ["clock"] for fault in FAULTS if "act" in fault):
    NOW, STEP = time.time, [0.0]  # before anybody takes hold of the function: all see one clock
    time.time = lambda: NOW() + STEP[0]
for at in {fault["at"] for fault in FAULTS if "at" in fault}:
    _demand(at.split(":")[0])
if FAULTS:
    sys.meta_path.insert(0, _Finder())
