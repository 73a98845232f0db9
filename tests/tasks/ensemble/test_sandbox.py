"""The decoding child is replaced when it dies, hangs or babbles, and never outlives anyone."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from cryovox.tasks.ensemble.sandbox import Sandbox
from cryovox.tasks.ensemble.wire import Message
from cryovox.tasks.errors import DecoderFault

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def request_one(quickstart):
    """One atom of the quickstart's first frame."""
    head = {"do": "read", "path": str(quickstart / "adk.xtc"), "format": "xtc", "n_atoms": 3341}
    return Message(head, {"frames": np.array([0]), "offsets": np.array([0]), "selection": np.array([0])})


def gone(pid: int, within: float = 5.0) -> bool:
    """No such process, not even a zombie."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.01)
    return False


def ended(pid: int) -> bool:
    """Gone, or waiting for init to take note of it: what its own parent can no longer do."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


def test_a_child_killed_between_requests_is_replaced_unseen(sandbox, request_one):
    before = sandbox.request(request_one, 30.0)
    first = sandbox.pid
    os.kill(first, signal.SIGKILL)
    assert os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    after = sandbox.request(request_one, 30.0)
    assert sandbox.pid != first
    np.testing.assert_array_equal(before.arrays["positions"], after.arrays["positions"])
    assert gone(first)


def test_a_child_killed_at_work_is_a_fault_that_names_the_signal(sandbox, request_one):
    sandbox.start()
    pid = sandbox.pid
    os.kill(pid, signal.SIGSTOP)
    killer = threading.Timer(0.2, os.kill, (pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(DecoderFault, match=f"{pid} was killed by SIGKILL"):
        sandbox.request(request_one, 30.0)
    killer.join()
    assert gone(pid)
    assert sandbox.pid is None


def test_a_hung_child_is_killed_in_time(sandbox, request_one):
    sandbox.start()
    pid = sandbox.pid
    os.kill(pid, signal.SIGSTOP)
    begin = time.monotonic()
    with pytest.raises(DecoderFault, match="gave no answer"):
        sandbox.request(request_one, 0.3)
    assert time.monotonic() - begin < 2
    assert gone(pid)


def test_a_request_larger_than_the_pipe_does_not_block_on_a_hung_child(sandbox, request_one):
    sandbox.start()
    os.kill(sandbox.pid, signal.SIGSTOP)
    with pytest.raises(DecoderFault, match="gave no answer"):
        sandbox.request(Message(request_one.head, {"frames": np.zeros(1 << 20, np.int64)}), 0.3)


def test_a_fault_carries_the_childs_last_words(sandbox):
    with pytest.raises(DecoderFault, match="KeyError: 'dance'"):
        sandbox.request(Message({"do": "dance"}), 30.0)


def test_a_child_that_floods_stderr_still_answers(sandbox, request_one, monkeypatch):
    sandbox.close()
    monkeypatch.setenv("PYTHONVERBOSE", "1")  # a line for every import: far more than a pipe holds
    assert "positions" in sandbox.request(request_one, 60.0).arrays
    sandbox.close()


def test_threads_may_share_a_child(sandbox, request_one):
    sandbox.start()
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(sandbox.request(request_one, 30.0))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    assert len({answer.arrays["positions"].tobytes() for answer in answers}) == 1


def test_closing_leaves_neither_orphan_nor_zombie(request_one):
    sandbox = Sandbox()
    sandbox.start()
    pid = sandbox.pid
    sandbox.close()
    sandbox.close()
    assert gone(pid, 0.1)


PARENT = """
import sys, time, os, signal
from cryovox.tasks.ensemble.sandbox import Sandbox
sandbox = Sandbox()
sandbox.start()
if sys.argv[1] == "stopped":
    os.kill(sandbox.pid, signal.SIGSTOP)
print(sandbox.pid, flush=True)
if sys.argv[1] != "exit":
    time.sleep(60)
"""


@pytest.mark.parametrize("how", ["idle", "stopped", "exit"])
def test_a_child_does_not_outlive_its_parent(how, tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", PARENT, how], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    if how != "exit":
        parent.kill()
    assert parent.wait(20) in (0, -signal.SIGKILL)
    parent.stdout.close()
    assert ended(pid)
