"""What the environment and Dask's configuration folders set of Dask here: what would undo a promise is refused, the rest is told.

Dask reads `DASK_*` variables and the YAML files of `/etc/dask`, `~/.config/dask` and others at import. The driver's own settings
(`launch.configuration`) win over them in every process that it starts itself; a SLURM job reads them anew on its node.
"""

import os
import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.config
import distributed.config  # noqa: F401  # pyright: ignore[reportUnusedImport]  (brings the defaults, and the old names of keys)

from ...tasks.errors import Problem, Refusal
from ..documents.strict_yaml import shown
from .profile import ClusterProfile, SchedulerProfile, SlurmProfile

_RUNS_CODE = "nothing that brings code of others into the run's processes"
_ENCRYPTS = "TLS as Dask has it: whoever reads or joins the connection can run code as you"
_ENDS = "Dask's own: the run counts on who ends when"

EVERYWHERE = {
    "distributed.comm.tls.ciphers": _ENCRYPTS,
    "distributed.comm.require-encryption": _ENCRYPTS,
    "distributed.comm.default-scheme": _ENCRYPTS,
    "distributed.client.security-loader": _RUNS_CODE,
    "distributed.client.preload": _RUNS_CODE,
    "distributed.client.preload-argv": _RUNS_CODE,
    "distributed.admin.pdb-on-err": "no debugger, which would wait for a person for ever",
}
"""Keys, with all below them, that no run takes from elsewhere, and what is wanted instead."""

OF_OUR_OWN = {
    "distributed.scheduler.preload": _RUNS_CODE,
    "distributed.scheduler.preload-argv": _RUNS_CODE,
    "distributed.nanny.preload": _RUNS_CODE,
    "distributed.nanny.preload-argv": _RUNS_CODE,
    "distributed.scheduler.http.routes": _RUNS_CODE,
    "distributed.worker.http.routes": _RUNS_CODE,
    "distributed.scheduler.active-memory-manager.policies": _RUNS_CODE,
    "distributed.scheduler.allowed-imports": _RUNS_CODE,
    "distributed.scheduler.pickle": "Dask's own: the run's functions come to its scheduler pickled, over TLS",
    "distributed.scheduler.contact-address": "the address that the profile says (`interface` of SLURM's)",
    "distributed.nanny.environ": "the environment of workers that the run sets: it decides the device and the last digits",
    "distributed.worker.multiprocessing-method": "`spawn`: a fork of a process that runs JAX hangs",
    "distributed.worker.daemon": "workers that end with the run",
    "distributed.worker.lifetime.duration": _ENDS,
    "distributed.scheduler.idle-timeout": _ENDS,
    "distributed.scheduler.allowed-failures": "Dask's own: the run counts how often a shard ended its worker",
}
"""The same, of a scheduler and workers that are started here."""

ON_A_NODE = {"distributed.nanny.pre-spawn-environ": OF_OUR_OWN["distributed.nanny.environ"]}
"""The same, of SLURM's jobs: elsewhere the run's own wins."""

_HARMLESS: dict[str, Any] = {
    "distributed.comm.require-encryption": True,
    "distributed.comm.default-scheme": "tls",
    "distributed.scheduler.pickle": True,
}
"""Values beside Dask's own that undo nothing."""
_ALSO_TOLD = ("logging", "logging-file-config", "scheduler-address", "temporary-directory")
"""Keys of Dask's, beside those of `distributed`, that a person should know of."""


@dataclass(frozen=True)
class Override:
    """A key of Dask's configuration that is set from outside to something other than Dask's own value."""

    key: str
    """As Dask writes it: `distributed.nanny.preload`."""
    value: Any
    where: str
    """The variable or the file."""

    @property
    def said(self) -> str:
        """The value, in short; of variables for workers none, since they may be secrets."""
        return "(not shown)" if "environ." in self.key else shown(_plain(self.value))


def check(profile: ClusterProfile) -> None:
    """Raises `Refusal` with all that would undo what a run on this profile promises."""
    rules = dict(EVERYWHERE)
    if not isinstance(profile, SchedulerProfile):  # of a scheduler that is there, its owner decides
        rules |= OF_OUR_OWN
    if isinstance(profile, SlurmProfile):
        rules |= ON_A_NODE
    problems = [
        Problem(f"Dask is told to do otherwise: `{one.key}`", one.where, f"`{one.key}: {one.said}`", rules[rule], _fix(one))
        for one in found()
        if (rule := _within(one.key, rules)) is not None and _HARMLESS.get(rule, one) != one.value
    ]
    if problems:
        raise Refusal(problems)


def noticed(own: Collection[str] = ()) -> list[str]:
    """What else is set of Dask from outside, a line each, for the log of a run that was not refused; `own` are keys that the run
    sets itself (`launch.configuration`)."""
    lines = []
    for one in found():
        if _within(one.key, ("distributed", *_ALSO_TOLD)) is not None:
            overruled = "; the run has its own" if _within(one.key, own) is not None else ""
            lines.append(f"note: Dask's {one.key} is set to {one.said} by {one.where}{overruled}")
    return lines


def found() -> list[Override]:
    """All that is set from outside, sorted by key; of several that set a key, the one that Dask takes."""
    last: dict[str, Override] = {}
    for where, mapping in _sources():
        for key, value in _leaves(mapping):
            key = _of_today(key)
            last[_folded(key)] = Override(key, value, where)
    own = {_folded(key): value for defaults in dask.config.defaults for key, value in _leaves(defaults)}
    return [last[key] for key in sorted(last) if key not in own or last[key].value != own[key]]


def _sources() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Where something is set, the strongest last, as `dask.config.collect` has it."""
    for path, mapping in dask.config.collect_yaml(dask.config.paths, return_paths=True):
        yield str(Path(path)), mapping
    inherited = "DASK_INTERNAL_INHERIT_CONFIG"
    names = [name for name in os.environ if name.startswith("DASK_")]
    for name in sorted(names, key=lambda name: name != inherited):
        text = os.environ[name]
        if name == inherited:
            yield name, dask.config.deserialize(text)
        else:
            yield name, {name[5:].lower().replace("__", "."): dask.config.interpret_value(text)}


def _leaves(mapping: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in mapping.items():
        here = f"{above}.{key}" if above else str(key)
        if isinstance(value, Mapping):
            yield from _leaves(value, here)
        else:
            yield here, value


def _folded(key: str) -> str:
    """Dask takes `-` and `_` for the same."""
    return key.replace("_", "-")


def _of_today(key: str) -> str:
    """A key that was given by an old name, or by one with underscores, as Dask calls it now."""
    known = key.replace("_", "-")
    for old, new in dask.config.deprecations.items():
        if new and (known == old or known.startswith(f"{old}.")):
            return new + key[len(old) :]
    return key if _within(key, ("distributed.nanny.environ", *ON_A_NODE)) is not None else known


def _within(key: str, keys: Collection[str]) -> str | None:
    """The one of `keys` that `key` is, or lies below."""
    key = _folded(key)
    return next((one for one in keys if key == one or key.startswith(f"{one}.")), None)


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str | list) else str(value)


def _fix(one: Override) -> str:
    if one.where.startswith("DASK_"):
        return f"unset {one.where}"
    variable = "DASK_" + one.key.upper().replace("-", "_").replace(".", "__")
    own = dask.config.get(one.key, None, config=dask.config.merge(*dask.config.defaults))
    return f"take it out of that file, or overrule it: export {variable}={shlex.quote(str(own))}"
