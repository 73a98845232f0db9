"""A cluster profile: where a run works and how much of the machines it takes. It never changes a voxel."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from ...tasks.errors import Problem, Refusal
from ...tasks.store.layout import Compress
from ..documents.document import Document, load, override
from ..documents.settings import Found, validated
from ..documents.strict_yaml import shown

PROFILES = Path(__file__).parents[2] / "configs" / "clusters"
_MEMORY = re.compile(r"[0-9]+(\.[0-9]+)? ?(B|[kKMGT]i?B)")
_WALLTIME = re.compile(r"([0-9]+-)?[0-9]{1,2}:[0-9]{2}:[0-9]{2}")
SHORTEST = 300
"""Seconds of a worker job at least: a worker needs time to start and to leave. Of SLURM 0 is no limit."""


@dataclass(frozen=True)
class ClusterProfile:
    """What every profile says."""

    threads: Annotated[int, Ge(1)] = 2
    """Shards in the works at once in each worker: while one is compressed and written, the next is read and drawn. Memory goes
    with it; a worker on one core gains only what waiting for the disk takes."""
    window: Annotated[int, Ge(1)] = 4
    """Tasks waiting or running per worker; more hides slow starts, fewer stops sooner."""
    stall: Annotated[int, Ge(60)] = 1800
    """Seconds without an answer from any worker, though there are workers and tasks, after which the cluster is given up: one
    that was started for the run is started anew, else the run ends, to be resumed. More than the slowest shard takes."""


@dataclass(frozen=True)
class WithDashboard(ClusterProfile):
    """A profile whose scheduler this command starts."""

    dashboard_port: Annotated[int, Ge(0), Le(65535)] = 8787
    """Port of the dashboard on 127.0.0.1; 0 takes any free one."""


@dataclass(frozen=True)
class LocalProfile(WithDashboard):
    """`kind: local`: worker processes on this machine."""

    kind: Literal["local"] = "local"
    """Which profile this is."""
    workers: Annotated[int, Ge(1)] | Literal["auto"] = "auto"
    """Worker processes; `auto` is one a core."""
    memory_limit: str = "auto"
    """Memory of each worker, such as `4GiB`; `auto` shares the machine's memory evenly."""


@dataclass(frozen=True)
class GpuNodeProfile(WithDashboard):
    """`kind: gpu-node`: one worker process for each GPU of this machine, through dask-cuda."""

    kind: Literal["gpu-node"] = "gpu-node"
    """Which profile this is."""
    gpus: Annotated[int, Ge(1)] | Literal["all"] = "all"
    """How many of the machine's GPUs to take, from the first on."""
    memory_limit: str = "auto"
    """Host memory of each worker, such as `32GiB`; `auto` shares the machine's memory evenly."""
    device_memory: Annotated[float, Gt(0), Le(1)] = 0.75
    """Share of a GPU's memory that JAX may take; it is taken as it is needed, never in advance."""
    compress: Compress = "auto"
    """Who compresses bricks: `card` is zstd on the GPU (nvCOMP), `host` the processor, `auto` the card where nvCOMP is
    installed. The volumes are the same, the bytes of the shards are not: stay with one in one store."""


@dataclass(frozen=True)
class AdaptSettings:
    """Worker jobs that come and go with the work."""

    minimum: Annotated[int, Ge(1)] = 1
    """Jobs that are kept whatever happens."""
    maximum: Annotated[int, Ge(1)] = 4
    """Jobs at most."""


@dataclass(frozen=True)
class DriverSettings:
    """The batch job of the command itself: `cryovox submit`."""

    cores: Annotated[int, Ge(1)] = 2
    """Cores of the driver and its scheduler."""
    memory: str = "4GiB"
    """Memory of the driver and its scheduler."""
    walltime: str = "1-00:00:00"
    """Longest time of one driver job, `[days-]hours:minutes:seconds`; a run that needs more is requeued and goes on."""
    warning: Annotated[int, Ge(60)] = 300
    """Seconds before that time is up at which the run stops in order and has itself requeued."""
    directives: tuple[str, ...] = ()
    """More lines for the driver's script, as after `#SBATCH`."""


@dataclass(frozen=True)
class SlurmProfile(WithDashboard):
    """`kind: slurm`: each worker is a SLURM job of its own, through dask-jobqueue."""

    kind: Literal["slurm"] = "slurm"
    """Which profile this is."""
    jobs: Annotated[int, Ge(1)] = 2
    """Worker jobs, one worker process each."""
    adapt: AdaptSettings | None = None
    """Where this is a section, jobs come and go between its bounds instead of being `jobs` all the time."""
    partition: str | None = None
    """SLURM's partition, of workers and driver; null takes the cluster's default."""
    account: str | None = None
    """Account to charge; null takes your default."""
    gpus: Annotated[int, Ge(0), Le(1)] = 0
    """GPUs of a worker job: 0 draws on the processor, 1 on the GPU."""
    cores: Annotated[int, Ge(1)] = 2
    """Cores of a worker job. A GPU worker compresses on them; a worker that draws on the processor uses one to draw."""
    memory: str = "8GiB"
    """Memory of a worker job."""
    walltime: str = "12:00:00"
    """Longest time of a worker job, `[days-]hours:minutes:seconds`; workers end in order before, and others take over."""
    directives: tuple[str, ...] = ()
    """More lines for the workers' script, as after `#SBATCH`: `--constraint=a100`."""
    setup: tuple[str, ...] = ()
    """Shell lines that prepare a job, of workers and driver: `module load cuda`."""
    interface: str | None = None
    """Network interface between driver and workers, such as `ib0`; null takes the host's own address."""
    scratch: str | None = None
    """Folder on the node for what workers spill; null takes the system's temporary folder."""
    device_memory: Annotated[float, Gt(0), Le(1)] = 0.75
    """Share of a GPU's memory that JAX may take."""
    queue_timeout: Annotated[int, Ge(1)] = 172800
    """Seconds to wait for a worker job before the run gives up."""
    compress: Compress = "auto"
    """As in the profile `gpu-node`; without a GPU the processor compresses."""
    driver: DriverSettings = DriverSettings()
    """The batch job of the command itself."""

    @property
    def most_jobs(self) -> int:
        """Worker jobs, where all that may be asked for are there."""
        return self.jobs if self.adapt is None else self.adapt.maximum


@dataclass(frozen=True)
class TlsSettings:
    """Certificates of a scheduler that speaks TLS; paths are relative to the working directory."""

    ca_file: str
    """Certificate of the authority that both sides trust (PEM)."""
    cert: str
    """This client's certificate (PEM)."""
    key: str
    """This client's private key (PEM)."""


@dataclass(frozen=True)
class SchedulerProfile(ClusterProfile):
    """`kind: scheduler`: a Dask scheduler that is there already, with its workers."""

    kind: Literal["scheduler"] = "scheduler"
    """Which profile this is."""
    address: str | None = None
    """`tls://host:port` or `tcp://host:port`."""
    scheduler_file: str | None = None
    """Instead of an address: the JSON file that the scheduler wrote."""
    tls: TlsSettings | None = None
    """Certificates, where the scheduler speaks TLS."""
    compress: Compress = "auto"
    """As in the profile `gpu-node`."""
    workers_timeout: Annotated[int, Ge(1)] = 300
    """Seconds to wait for a first worker."""


def compress_of(profile: ClusterProfile) -> Compress:
    """Who compresses; a profile that knows no GPU leaves it to the processor."""
    return profile.compress if isinstance(profile, GpuNodeProfile | SlurmProfile | SchedulerProfile) else "host"


KINDS: dict[str, type[ClusterProfile]] = {
    "local": LocalProfile,
    "gpu-node": GpuNodeProfile,
    "slurm": SlurmProfile,
    "scheduler": SchedulerProfile,
}


def load_profile(name_or_path: str, overrides: Sequence[str] = ()) -> Any:
    """The profile of that name among those shipped (`local`), or in the YAML file at that path, with `overrides` (`workers=4`)
    put in.

    Raises `Refusal` with every problem; for an unknown name it lists the names there are.
    """
    path = Path(name_or_path)
    if not re.search(r"[/\\.]", name_or_path):
        names = sorted(one.stem for one in PROFILES.glob("*.yaml"))
        if name_or_path not in names:
            known = ", ".join(names)
            fix = f"one of: {known}; or a path such as ./{name_or_path or 'profile'}.yaml"
            raise Refusal(
                Problem("no such cluster profile", "--cluster", shown(name_or_path), "a shipped profile or a YAML file", fix)
            )
        path = PROFILES / f"{name_or_path}.yaml"
    document = override(load(path), overrides, "--cluster-set", "workers=4")
    kind = document.value.get("kind", "local")
    if not isinstance(kind, str) or kind not in KINDS:
        wanted = "one of " + ", ".join(f"`{name}`" for name in KINDS)
        where = document.where(("kind",))
        raise Refusal(Problem("bad value for `kind`", where, shown(kind), wanted, "the default is `kind: local`"))
    return validated(KINDS[kind], document, _memory, _walltime, _one_scheduler, _bounds, _directives, _warning)


def _memory(document: Document) -> Iterator[Found]:
    for keys in (("memory_limit",), ("memory",), ("driver", "memory")):
        limit = _at(document, keys)
        automatic = keys == ("memory_limit",)
        if isinstance(limit, str) and not (automatic and limit == "auto") and not (_MEMORY.fullmatch(limit) and _some(limit)):
            wanted, fix = f"{'`auto` or ' if automatic else ''}a size above 0 with its unit", f"`{keys[-1]}: 4GiB`"
            yield keys, Problem(f"bad value for `{'.'.join(keys)}`", document.where(keys), shown(limit), wanted, fix)


def _some(limit: str) -> bool:
    """Whether it is any memory at all: of SLURM 0 is the whole node, and Dask knows no limit then."""
    return re.search(r"[1-9]", limit) is not None


def _walltime(document: Document) -> Iterator[Found]:
    for keys in (("walltime",), ("driver", "walltime")):  # that of the driver is bounded by its warning
        walltime = _at(document, keys)
        shortest = SHORTEST if keys == ("walltime",) else 0
        if isinstance(walltime, str) and (not _WALLTIME.fullmatch(walltime) or seconds(walltime) < shortest):
            least = f", at least {SHORTEST // 60} minutes" if shortest else ""
            wanted, fix = f"[days-]hours:minutes:seconds{least}", f"`{keys[-1]}: 12:00:00`"
            yield keys, Problem(f"bad value for `{'.'.join(keys)}`", document.where(keys), shown(walltime), wanted, fix)


def _one_scheduler(document: Document) -> Iterator[Found]:
    if document.value.get("kind") != "scheduler":
        return
    address, file = document.value.get("address"), document.value.get("scheduler_file")
    keys = ("address",)
    if (address is None) == (file is None):
        got = "neither" if address is None else "both"
        fix = "`--cluster-set address=tls://host:8786`, or `address:` in a profile of your own"
        yield keys, Problem("the scheduler has no one address", document.where(keys), got, "`address` or `scheduler_file`", fix)
    elif isinstance(address, str) and not re.fullmatch(r"(tls|tcp)://[^\s/]+:[0-9]{1,5}", address):
        wanted, fix = "`tls://host:port` or `tcp://host:port`", "`address: tls://10.0.0.1:8786`"
        yield keys, Problem("bad value for `address`", document.where(keys), shown(address), wanted, fix)


def _bounds(document: Document) -> Iterator[Found]:
    keys = ("adapt", "maximum")
    fewest, most = _at(document, ("adapt", "minimum")), _at(document, keys)
    if isinstance(fewest, int) and isinstance(most, int) and fewest > most:
        yield keys, Problem("`adapt.maximum` is below `adapt.minimum`", document.where(keys), shown(most), f"{fewest} or more")


def _directives(document: Document) -> Iterator[Found]:
    """What stands on a `#SBATCH` line stays on it, and the name of a partition is one word."""
    for keys in (("partition",), ("account",)):
        name = _at(document, keys)
        if isinstance(name, str) and not re.fullmatch(r"[\w.,@:+-]+", name):
            yield keys, Problem(f"bad value for `{keys[0]}`", document.where(keys), shown(name), "a name, as `sinfo` shows it")
    for keys in (("directives",), ("driver", "directives")):
        lines = _at(document, keys)
        for n, line in enumerate(lines if isinstance(lines, list) else []):
            if isinstance(line, str) and not re.fullmatch(r"-[^\x00-\x1f\x7f]+", line):
                wanted, fix = "one option of `sbatch`", f'`{keys[-1]}: ["--constraint=a100"]`'
                yield (*keys, n), Problem("not an option of `sbatch`", document.where((*keys, n)), shown(line), wanted, fix)


def _warning(document: Document) -> Iterator[Found]:
    keys = ("driver", "warning")
    warning = _at(document, keys)
    walltime = _at(document, ("driver", "walltime"))
    if document.value.get("kind") != "slurm" or (warning is None and walltime is None):
        return
    warning = DriverSettings.warning if warning is None else warning
    walltime = DriverSettings.walltime if walltime is None else walltime
    if isinstance(warning, int) and isinstance(walltime, str) and _WALLTIME.fullmatch(walltime):
        most = (seconds(walltime) - 60) // 2  # SLURM may send it a minute early
        if warning > most:
            wanted = f"less than half of `driver.walltime`: at most {max(most, 0)}"
            yield keys, Problem("`driver.warning` leaves no time to work", document.where(keys), shown(warning), wanted)


def seconds(walltime: str) -> int:
    """Of `[days-]hours:minutes:seconds`."""
    days, _, clock = walltime.rpartition("-")
    hours, minutes, rest = map(int, clock.split(":"))
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + rest


def _at(document: Document, keys: tuple[str, ...]) -> Any:
    try:
        return document.at(keys)
    except KeyError:
        return None
