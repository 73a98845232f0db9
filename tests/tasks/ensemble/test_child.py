"""The child's loop: confined, its stdout kept for answers, ended by a closed stdin."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from cryovox.tasks.ensemble.wire import Message, receive, send

CHILD = """
import os, sys
import numpy as np
from cryovox.tasks.ensemble.child import serve
from cryovox.tasks.ensemble.wire import Message

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

serve({"shout": shout, "fill": fill}, parent=int(sys.argv[1]), memory=1 << 30)
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


def test_a_child_whose_parent_is_gone_does_not_begin():
    done = subprocess.run([sys.executable, "-P", "-c", CHILD, "1"], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"parent has already gone" in done.stderr
