"""The child's loop: confined, its stdout kept for answers, ended by a closed stdin."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from cryovox.tasks.decoding.wire import Message, receive, send

CHILD = """
import os, sys, time
import numpy as np
from cryovox.tasks.decoding.child import serve
from cryovox.tasks.decoding.wire import Message

def shout(head, arrays):
    print("stray words", flush=True)
    os.write(1, b"from a C library")
    return Message({"heard": sys.stdin.read()})

def fill(head, arrays):
    try:
        np.ones(head["bytes"], np.uint8)
    except MemoryError:
        return Message({"refused": True})
    return Message({"refused": False})

def write(head, arrays):
    try:
        with open(head["path"], "wb") as file:
            file.write(b"words")
    except OSError as error:
        return Message({"refused": error.strerror})
    return Message({"refused": ""})

def compute(head, arrays):
    begin = time.process_time()
    while time.process_time() - begin < head["seconds"]:
        pass
    return Message({"done": True})

serve({"shout": shout, "fill": fill, "write": write, "compute": compute}, parent=int(sys.argv[1]), memory=1 << 30)
"""


@pytest.fixture
def child() -> Iterator[subprocess.Popen]:
    pipe = subprocess.PIPE
    arguments = [sys.executable, "-P", "-c", CHILD, str(os.getpid())]
    with subprocess.Popen(
        arguments, stdin=pipe, stdout=pipe, stderr=pipe, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    ) as child:
        assert listen(child).head == {"ready": True}
        yield child
        child.kill()


def listen(child: subprocess.Popen) -> Message:
    def fill(view: memoryview) -> None:
        if child.stdout.readinto(view) < len(view):
            raise EOFError(child.stderr.read().decode())

    return receive(fill)


def ask(child: subprocess.Popen, **head) -> Message:
    send(Message(head), child.stdin.write)
    child.stdin.flush()
    return listen(child)


def test_whatever_is_printed_never_reaches_the_wire(child):
    assert ask(child, do="shout").head == {"heard": ""}
    assert ask(child, do="shout").head == {"heard": ""}
    out, said = child.communicate()
    assert out == b""
    assert said.count(b"stray words") == said.count(b"from a C library") == 2


def test_a_closed_stdin_ends_it_in_peace(child):
    child.stdin.close()
    assert child.wait(10) == 0


def test_ctrl_c_is_the_parents_business(child):
    child.send_signal(signal.SIGINT)
    assert ask(child, do="fill", bytes=10).head == {"refused": False}


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux")
def test_it_takes_no_more_memory_than_it_is_given(child):
    assert ask(child, do="fill", bytes=2 << 30).head == {"refused": True}
    assert ask(child, do="fill", bytes=1 << 20).head == {"refused": False}


def test_it_writes_no_file(child, tmp_path):
    file = tmp_path / "left.npz"
    assert ask(child, do="write", path=str(file)).head == {"refused": "File too large"}
    assert file.stat().st_size == 0


def test_an_answer_that_takes_too_much_processor_time_ends_it(child):
    send(Message({"do": "compute", "seconds": 60, "cpu": 0.1}), child.stdin.write)
    child.stdin.flush()
    begin = time.monotonic()
    assert child.wait(30) == -signal.SIGXCPU
    assert time.monotonic() - begin < 20


def test_each_answer_has_an_allowance_of_its_own(child):
    """Each of them alone stays below it, all together do not."""
    for _ in range(4):
        assert ask(child, do="compute", seconds=0.6, cpu=1.0).head == {"done": True}
    soft, hard = resource.prlimit(child.pid, resource.RLIMIT_CPU)
    assert hard == resource.RLIM_INFINITY
    assert 3 <= soft <= 6


def test_an_answer_without_an_allowance_may_take_any_time(child):
    """The last one's limit does not hold on: this would be ended by SIGXCPU."""
    assert ask(child, do="compute", seconds=0.1, cpu=0.2).head == {"done": True}
    assert ask(child, do="compute", seconds=2.5).head == {"done": True}
    assert resource.prlimit(child.pid, resource.RLIMIT_CPU)[0] == resource.RLIM_INFINITY


def test_a_child_whose_parent_is_gone_does_not_begin():
    done = subprocess.run([sys.executable, "-P", "-c", CHILD, "1"], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"parent has already gone" in done.stderr
