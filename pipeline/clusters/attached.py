"""`kind: scheduler`: a Dask scheduler that is there already, in a lab, on Kubernetes, behind a gateway, with its workers."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from distributed import Client
from distributed.security import Security

from ...tasks.errors import Problem, Refusal
from ..events.exits import Interrupted
from .profile import SchedulerProfile

LARGEST = 1 << 20
"""Bytes of a certificate or of a scheduler's file."""
CONNECT = 10
"""Seconds in which the scheduler must answer."""


def check(profile: SchedulerProfile) -> None:
    """Raises `Refusal` for a file that is not there or cannot be read."""
    problems = [_readable(key, Path(path)) for key, path in _files(profile)]
    found = [problem for problem in problems if problem is not None]
    if found:
        raise Refusal(found)
    address = address_of(profile)
    if address.startswith("tls://") and profile.tls is None:
        fix = "`--cluster-set tls.ca_file=ca.pem --cluster-set tls.cert=me.pem --cluster-set tls.key=me.key`"
        raise Refusal(Problem("a scheduler that speaks TLS wants certificates", "tls", address, "`tls`", fix))


def address_of(profile: SchedulerProfile) -> str:
    """Where the scheduler is. Raises `Refusal` for a scheduler file that says no address."""
    if profile.scheduler_file is None:
        assert profile.address is not None  # the profile was validated
        return profile.address
    file = Path(profile.scheduler_file)
    try:
        address = json.loads(file.read_text("utf-8"))["address"]
        if not isinstance(address, str):
            raise TypeError(f"address: {address!r}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        fix = "name the file that `dask scheduler --scheduler-file` wrote"
        got = f"{type(error).__name__}: {error}"
        raise Refusal(Problem("the scheduler file says no address", str(file), got, "JSON with `address`", fix)) from error
    return address


@contextmanager
def opened(profile: SchedulerProfile, run_folder: Path, environment: Mapping[str, str]) -> Iterator[Client]:  # noqa: ARG001  (an `Opener`)
    """A client; scheduler and workers stay when it goes."""
    tls, address = profile.tls, address_of(profile)
    security = None
    if tls is not None:
        security = Security(tls_ca_file=tls.ca_file, tls_client_cert=tls.cert, tls_client_key=tls.key, require_encryption=True)
    try:
        client = Client(address, security=security, set_as_default=False, timeout=CONNECT)
    except (OSError, RuntimeError, ValueError) as error:
        raise Interrupted(f"the scheduler at {address} does not answer: {error}") from error
    with client:
        yield client


def _files(profile: SchedulerProfile) -> Iterator[tuple[str, str]]:
    if profile.scheduler_file is not None:
        yield "scheduler_file", profile.scheduler_file
    if profile.tls is not None:
        yield from ((f"tls.{key}", path) for key, path in vars(profile.tls).items())


def _readable(key: str, path: Path) -> Problem | None:
    wanted = f"a file of at most {LARGEST >> 20} MiB"
    try:
        if not path.is_file() and path.exists():  # to open a pipe would wait for ever
            return Problem("this is no ordinary file", key, f"{path}: a folder, pipe or device", wanted, "its path")
        with path.open("rb"):
            size = path.stat().st_size
    except OSError as error:
        return Problem("a file of the profile cannot be read", key, f"{path}: {error.strerror}", "a file in reach", "its path")
    if size > LARGEST:
        return Problem("a file of the profile is too large", key, f"{path}: {size} bytes", wanted, "its path")
    return None
