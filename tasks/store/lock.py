"""The run lock: a file beside the store by which one run owns it, and by which a worker knows that it still does.

The lock is put in place with `link()`, which is atomic on local and network file systems alike and never shows a half-written
file. A lock whose owner is surely dead is taken over in two steps. A racer first *claims* the dead lock: it links its own
identity to a name made of the dead one's uuid, so one racer wins. Only then does it rename its lock over the dead one, so at
no moment is the place free. A claimant that died in between is a dead owner like any other: its claim is claimed in turn.
"""

import errno
import json
import os
import socket
import time
import uuid as uuids
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

from ..errors import Problem, Refusal
from .atomic import begin_writing, end_writing
from .heartbeat import Heartbeat, silent_for

SILENT = 600.0
"""Seconds without a heartbeat after which a person may take a lock over whose owner cannot be asked."""


@dataclass(frozen=True)
class Owner:
    """The process that holds a lock."""

    uuid: str
    """Of this one holding, not of the process."""
    host: str
    pid: int
    process_start: str
    """Boot and clock tick at which the process began, which tells a reused pid; empty where the system does not say."""
    pid_namespace: str
    """Where the pid counts: a container's pids are not the host's."""
    slurm_job: str
    """Job id; empty outside SLURM."""
    slurm_restart: int
    """How often SLURM has restarted the job."""
    started: str
    """When the lock was taken, UTC."""


@dataclass(frozen=True)
class RunLock:
    """A lock that this process holds; a context manager that releases it."""

    run_folder: Path
    owner: Owner
    heartbeat: Heartbeat

    @property
    def uuid(self) -> str:
        """What a task carries so that its worker can ask `still_ours`."""
        return self.owner.uuid

    def release(self) -> None:
        """Remove the lock, if it is still this one. Safe to repeat."""
        self.heartbeat.stop()
        with suppress(OSError):  # the run ended as it did; the next one sweeps what is left
            end_writing(self.run_folder, self.uuid)
        with suppress(OSError):  # of a disk that is read-only by now: the next run takes over from a process that is dead
            if still_ours(self.run_folder, self.uuid):
                _file(self.run_folder).unlink(missing_ok=True)

    def __enter__(self) -> "RunLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def acquire(run_folder: Path, take_over: bool = False) -> RunLock:
    """Take the lock of the run folder (made if it is not there): its heart beats, and its run alone may write into the store.

    `take_over`: also from an owner that cannot be judged, once it has been silent for `SILENT` seconds. Raises `Refusal` where
    another run holds it, or where its owner cannot be judged; `OSError`.
    """
    run_folder.mkdir(parents=True, exist_ok=True)
    owner = _myself()
    with _written(run_folder, owner) as mine:
        if not _link(mine, _file(run_folder)):
            holder = _read(_file(run_folder))
            if holder is not None:
                _take_over(run_folder, holder, owner, mine, take_over)
            elif not _link(mine, _file(run_folder)):  # released this moment, and taken again
                raise Refusal(_lost_race(run_folder))
    ours = partial(still_ours, run_folder, owner.uuid)
    lock = RunLock(run_folder, owner, Heartbeat(_file(run_folder), ours))
    try:
        begin_writing(run_folder, owner.uuid, ours)
        if not ours():  # this process stood still for so long that another was told to take over
            raise Refusal(_lost_race(run_folder))
    except BaseException:
        lock.release()
        raise
    lock.heartbeat.start()
    return lock


def still_ours(run_folder: Path, uuid: str) -> bool:
    """Whether the run folder's lock is the one with this uuid: the fence before every write. One small read."""
    try:
        holder = _read(_file(run_folder))
    except Refusal:
        return False
    return holder is not None and holder.uuid == uuid


def is_held(run_folder: Path) -> bool:
    """Whether a run holds the lock that is neither surely dead nor silent for long. Raises `Refusal` for what is no lock."""
    holder = _read(_file(run_folder))
    return holder is not None and not _surely_dead(holder, _myself()) and _silence(_file(run_folder)) < SILENT


def holder(run_folder: Path) -> str | None:
    """Who has the lock, dead or alive, in words; None where nobody has. Raises `Refusal` for what is no lock."""
    owner = _read(_file(run_folder))
    if owner is None:
        return None
    ended = "; it has ended, and the next run takes over" if _surely_dead(owner, _myself()) else ""
    return _named(owner, _silence(_file(run_folder))) + ended


def _take_over(run_folder: Path, holder: Owner, owner: Owner, mine: Path, by_hand: bool) -> None:
    dead, place = holder, _file(run_folder)
    while True:
        if not _surely_dead(dead, owner) and not (by_hand and _silence(place) >= SILENT):
            raise Refusal(_held(run_folder, dead, _silence(place)))
        claimant = _read(_claim(run_folder, dead))
        if claimant is None:
            break
        dead, place = claimant, _claim(run_folder, dead)
    if not _link(mine, _claim(run_folder, dead)):
        raise Refusal(_lost_race(run_folder))
    try:
        # a racer may have finished its takeover, and swept the claims, since the lock was read
        current = _read(_file(run_folder))
        if current is None or current.uuid != holder.uuid:
            raise Refusal(_lost_race(run_folder))
        with _written(run_folder, owner) as copy:
            copy.replace(_file(run_folder))
    except BaseException:
        _claim(run_folder, dead).unlink(missing_ok=True)
        raise
    # only now: whoever still follows the old chain finds the lock changed
    for claim in run_folder.glob("lock.*.claim"):
        claim.unlink(missing_ok=True)


def _silence(place: Path) -> float:
    """Seconds without a heartbeat; 0 where the file is gone."""
    try:
        return silent_for(place)
    except FileNotFoundError:
        return 0.0


def _surely_dead(owner: Owner, me: Owner) -> bool:
    if me.slurm_job and owner.slurm_job == me.slurm_job and owner.slurm_restart < me.slurm_restart:
        return True
    if owner.host != me.host or owner.pid_namespace != me.pid_namespace:
        return False
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # alive, another user's
        pass
    return owner.process_start != _process_start(owner.pid)


def _myself() -> Owner:
    return Owner(
        uuid=uuids.uuid4().hex,
        host=socket.gethostname(),
        pid=os.getpid(),
        process_start=_process_start(os.getpid()),
        pid_namespace=_pid_namespace(),
        slurm_job=os.environ.get("SLURM_JOB_ID", ""),
        slurm_restart=int(os.environ.get("SLURM_RESTART_COUNT") or 0),
        started=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
    )


def _process_start(pid: int) -> str:
    """Linux only: elsewhere a pid that lives is taken for the owner."""
    try:
        # the command, in brackets, may hold spaces and brackets itself; the start is the 22nd field, the 20th after it
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    # a zombie only waits for its parent to ask how it ended: it writes nothing any more
    return "ended" if state[0] in "ZX" else f"{boot} {state[19]}"


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _file(run_folder: Path) -> Path:
    return run_folder / "lock"


def _claim(run_folder: Path, dead: Owner) -> Path:
    return run_folder / f"lock.{dead.uuid}.claim"


@contextmanager
def _written(run_folder: Path, owner: Owner) -> Iterator[Path]:
    """A file of its own with the owner in it; gone afterwards, unless it was moved."""
    path = run_folder / f".lock.{uuids.uuid4().hex}.partial"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(owner), file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        yield path
    finally:
        path.unlink(missing_ok=True)


def _link(source: Path, target: Path) -> bool:
    """Whether `target` was free and is now `source`. Raises `Refusal` where the file system knows no links."""
    try:
        target.hardlink_to(source)
    except FileExistsError:
        # NFS may repeat a request whose answer got lost, and then finds the link that it made itself
        with suppress(FileNotFoundError):
            return source.samefile(target)
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        raise Refusal(
            Problem(
                what="the file system cannot hold a run lock",
                where=str(target.parent),
                got=f"no hard links ({error.strerror})",
                fix="choose a `store.path` on another file system",
            )
        ) from error
    return True


def _read(path: Path) -> Owner | None:
    """The owner written in a lock or claim; None where there is none. Raises `Refusal` where it cannot be understood."""
    try:
        value = json.loads(path.read_text("utf-8"))
        owner = Owner(**value)
        if any(type(getattr(owner, field.name)) is not field.type for field in fields(Owner)):
            raise TypeError("a field of another type")
        return owner
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise Refusal(
            Problem(
                what="the run lock cannot be read",
                where=str(path),
                got=f"{type(error).__name__}: {error}",
                fix="make sure that no run writes this store, then delete the file",
            )
        ) from error


def _named(owner: Owner, silence: float) -> str:
    job = f", SLURM job {owner.slurm_job}" if owner.slurm_job else ""
    return f"process {owner.pid} on {owner.host}{job}, since {owner.started}; last sign of life {silence:.0f} s ago"


def _held(run_folder: Path, holder: Owner, silence: float) -> Problem:
    fix = "wait until it ends, or stop it"
    if silence >= SILENT:
        fix += "; where that process surely no longer runs, the same command with --take-over"
    return Problem(
        what="another run holds this store",
        where=str(_file(run_folder)),
        got=_named(holder, silence),
        fix=fix,
    )


def _lost_race(run_folder: Path) -> Problem:
    return Problem(
        what="another run takes this store at this moment",
        where=str(_file(run_folder)),
        fix="look at it with `cryovox status`, or run the same command again in a moment",
    )
