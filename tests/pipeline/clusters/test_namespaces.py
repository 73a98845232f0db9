"""Scheduler and workers on different addresses, as on two machines, and TLS between them: pytest -m root -n 0."""

import os
import shutil
import subprocess
import sys
import time

import pytest
from distributed.security import Security

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="namespaces are made by root"),
    pytest.mark.skipif(shutil.which("ip") is None, reason="the command `ip` (iproute2) is not installed"),
]

HERE, THERE = "10.77.23.1", "10.77.23.2"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def machines():
    """Two network namespaces with a cable between them: what listens on one's loopback is not there for the other."""
    mark = os.getpid()
    names = f"cryovox-a-{mark}", f"cryovox-b-{mark}"
    cable = f"cva{mark % 10**8}", f"cvb{mark % 10**8}"
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", cable[0], "type", "veth", "peer", "name", cable[1])
        for name, end, address in zip(names, cable, (HERE, THERE), strict=True):
            ip("link", "set", end, "netns", name)
            ip("-n", name, "address", "add", f"{address}/24", "dev", end)
            ip("-n", name, "link", "set", end, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield [["ip", "netns", "exec", name] for name in names]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@pytest.fixture
def certificates(tmp_path):
    """Files of one authority, for every role: {ca_file, cert, key}."""
    made = Security.temporary().get_tls_config_for_role("client")
    paths = {}
    for name in ("ca_file", "cert", "key"):
        path = tmp_path / f"{name}.pem"
        path.touch(mode=0o600)
        path.write_text(made[name])
        paths[name] = str(path)
    return paths


@pytest.fixture
def started(tmp_path):
    """Starts processes that are gone after the test."""
    processes = []

    def start(*command: str) -> subprocess.Popen:
        with (tmp_path / "lab.txt").open("a") as output:
            environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
            processes.append(subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True))
        return processes[-1]

    yield start
    for process in reversed(processes):
        process.terminate()
        process.wait(timeout=30)


def dask(machine, what, tls, *options):
    files = [f"--tls-ca-file={tls['ca_file']}", f"--tls-cert={tls['cert']}", f"--tls-key={tls['key']}"]
    return [*machine, sys.executable, "-m", f"distributed.cli.dask_{what}", "--no-dashboard", *files, *options]


def test_the_quickstart_on_two_machines_with_tls(tmp_path, quickstart, cryovox, digests, machines, certificates, started):
    here, there = machines
    address = f"tls://{HERE}:8786"
    started(*dask(here, "scheduler", certificates, "--host", HERE, "--port", "8786", "--protocol", "tls"))
    for n in range(2):
        options = ["--host", THERE, "--nthreads", "2", "--preload", "cryovox.pipeline.workers.preload", "--name", f"there-{n}"]
        started(*dask(there, "worker", certificates, address, "--local-directory", str(tmp_path / f"w{n}"), *options))
    recipe = str(quickstart.parent / "recipes" / "quickstart.yaml")
    where = ["--cluster", "scheduler", "--cluster-set", f"address={address}"]
    where += [word for name, path in certificates.items() for word in ("--cluster-set", f"tls.{name}={path}")]
    command = [*here, sys.executable, "-m", "cryovox.pipeline.cli", "run", recipe, *where]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr + (tmp_path / "lab.txt").read_text()
    assert "not encrypted" not in done.stderr
    (tmp_path / "local").mkdir()
    local = cryovox("run", recipe, "--cluster-set", "dashboard_port=0", cwd=tmp_path / "local")
    assert local.returncode == 0, local.stderr
    assert digests(tmp_path / "adk.zarr") == digests(tmp_path / "local" / "adk.zarr")


def test_who_has_no_certificate_is_not_let_in(tmp_path, quickstart, machines, certificates, started):
    here, there = machines
    started(*dask(here, "scheduler", certificates, "--host", HERE, "--port", "8786", "--protocol", "tls"))
    time.sleep(3)
    plain = ["--cluster", "scheduler", "--cluster-set", f"address=tcp://{HERE}:8786"]
    recipe = str(quickstart.parent / "recipes" / "quickstart.yaml")
    command = [*there, sys.executable, "-m", "cryovox.pipeline.cli", "run", recipe, *plain]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 75, done.stderr
    assert "does not answer" in done.stderr
    assert not (tmp_path / "adk.zarr").exists()
