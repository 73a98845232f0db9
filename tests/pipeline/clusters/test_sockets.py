"""P21: whatever a run listens on is on the loopback, and Dask's ports answer its own certificate alone."""

import os
import re
import signal
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

import psutil
import pytest
from distributed import Client, LocalCluster
from distributed.security import Security

WORKERS = 2
PATIENCE = 20
"""Seconds in which whoever may come in is in, on a busy machine too; whoever may not is turned away at once."""


def listening(driver: psutil.Process) -> set[tuple[str, int]]:
    """(address, port) of every socket of the process tree that others can send to."""
    found = set()
    for process in [driver, *driver.children(recursive=True)]:
        try:
            connections = process.net_connections("inet")
        except psutil.NoSuchProcess:  # ended while it was looked at
            continue
        # UDP knows no listening: a socket without a peer hears everyone
        found |= {tuple(one.laddr) for one in connections if one.status == "LISTEN" or (one.status == "NONE" and not one.raddr)}
    return found


def is_plain_http(port: int) -> bool:
    """Whether it says what Dask's dashboard and its workers' health say."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=PATIENCE) as answer:
            return answer.read() == b"ok"
    except (OSError, urllib.error.URLError):
        return False


def comes_in(scheme: str, port: int) -> bool:
    """Whether a client does: without TLS, or with a certificate of its own making."""
    security = Security.temporary() if scheme == "tls" else None
    try:
        with Client(f"{scheme}://127.0.0.1:{port}", security=security, timeout=PATIENCE, set_as_default=False):
            return True
    except OSError:
        return False


@pytest.fixture
def started(tmp_path, quickstart, start):
    """A run whose workers are at work."""
    recipe = quickstart.parent / "recipes" / "quickstart.yaml"
    settings = ["--set", "grid.voxel_size=2.0", "--cluster-set", f"workers={WORKERS}", "--cluster-set", "dashboard_port=0"]
    process = start("run", recipe, *settings, cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "adk.zarr" / "ledger").glob("c.*")):
        assert process.poll() is None, (tmp_path / "output.txt").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    decoders = [
        one for one in psutil.Process(process.pid).children(recursive=True) if "decoding.decoder" in " ".join(one.cmdline())
    ]
    for one in decoders:  # nothing is read meanwhile, so that the run is still on when all ports were tried
        one.suspend()
    yield process, tmp_path
    for one in decoders:
        one.resume()
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(40) == 75


def test_a_run_listens_on_the_loopback_and_lets_nobody_in(started):
    process, folder = started
    sockets = listening(psutil.Process(process.pid))
    assert all(ip_address(address).is_loopback for address, _ in sockets), sockets
    ports = sorted(port for _, port in sockets)

    with (
        ThreadPoolExecutor(32) as pool,
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0", protocol="tcp") as open_one,
    ):
        known = int(open_one.scheduler_address.rpartition(":")[2])
        plain = [port for port, is_plain in zip(ports, pool.map(is_plain_http, ports), strict=True) if is_plain]
        (dashboard,) = re.findall(r"dashboard: http://127\.0\.0\.1:(\d+)/", (folder / "output.txt").read_text())
        assert int(dashboard) in plain
        assert len(plain) == 1 + WORKERS, "the dashboard, and the health of each worker"

        dasks = [port for port in ports if port not in plain]
        assert len(dasks) == 1 + 2 * WORKERS, "the scheduler, and a nanny and a worker each"
        tries = [(scheme, port) for port in dasks for scheme in ("tcp", "tls")]
        tried = [pool.submit(comes_in, *one) for one in [("tcp", known), *tries]]
        assert tried[0].result(), "the way it is tried works"
        assert [one for one, answer in zip(tries, tried[1:], strict=True) if answer.result()] == []
    assert process.poll() is None
