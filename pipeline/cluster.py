"""A cluster profile: where a run works and how much of the machine it takes. It never changes a voxel."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Le

from ..tasks.errors import Problem, Refusal
from .documents import Document, load
from .settings import Found, validated
from .strict_yaml import shown

PROFILES = Path(__file__).parent.parent / "configs" / "clusters"
_MEMORY = re.compile(r"[0-9]+(\.[0-9]+)? ?(B|[kKMGT]i?B)")


@dataclass(frozen=True)
class ClusterProfile:
    """Where to compute: one YAML file."""

    kind: Literal["local"] = "local"
    """`local`: worker processes on this machine."""
    workers: Annotated[int, Ge(1)] | Literal["auto"] = "auto"
    """Worker processes; `auto` is one a core."""
    memory_limit: str = "auto"
    """Memory of each worker, such as `4GiB`; `auto` shares the machine's memory evenly."""
    threads: Annotated[int, Ge(1)] = 2
    """Shards in the works at once in each worker: while one is compressed and written, the next is read and drawn. Memory goes
    with it; a worker on one core gains only what waiting for the disk takes."""
    dashboard_port: Annotated[int, Ge(0), Le(65535)] = 8787
    """Port of the dashboard on 127.0.0.1; 0 takes any free one."""
    window: Annotated[int, Ge(1)] = 4
    """Tasks waiting or running per worker; more hides slow starts, fewer stops sooner."""


def load_profile(name_or_path: str) -> ClusterProfile:
    """The profile of that name among those shipped (`local`), or in the YAML file at that path.

    Raises `Refusal` with every problem; for an unknown name it lists the names there are.
    """
    if re.search(r"[/\\.]", name_or_path):
        return validated(ClusterProfile, load(Path(name_or_path)), _memory)
    names = sorted(path.stem for path in PROFILES.glob("*.yaml"))
    if name_or_path not in names:
        known = ", ".join(names)
        fix = f"one of: {known}; or a path such as ./{name_or_path or 'profile'}.yaml"
        raise Refusal(
            Problem("no such cluster profile", "--cluster", shown(name_or_path), "a shipped profile or a YAML file", fix)
        )
    return validated(ClusterProfile, load(PROFILES / f"{name_or_path}.yaml"), _memory)


def _memory(document: Document) -> Iterator[Found]:
    keys, limit = ("memory_limit",), document.value.get("memory_limit")
    if isinstance(limit, str) and limit != "auto" and not _MEMORY.fullmatch(limit):
        wanted, fix = "`auto` or a size with its unit", "`memory_limit: 4GiB`"
        yield keys, Problem("bad value for `memory_limit`", document.where(keys), shown(limit), wanted, fix)
