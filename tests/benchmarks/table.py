"""What was measured, as a Markdown table and as the goals' verdicts."""

import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

Row = dict[str, Any]
COLUMNS = ("system", "box", "who", "ms a frame (least)", "ratio", "CPU ms", "CPU ratio", "rel. L2", "sampling", "peak MB")


class Goal(NamedTuple):
    """A bound on a figure of the rows that it looks at."""

    measure: str
    says: str
    bound: float
    """At least this, or at most where `most`."""
    of: str
    """Key of the figure."""
    rows: dict[str, Any]
    """What the rows must be: key to value, `who` by what it begins with."""
    most: bool = False


ADK = {"system": "adk", "voxel_size": 1.0}
GOALS = (
    Goal("K1", "gemmi (cutoff 1e-5) over ours", 6.0, "ratio", {**ADK, "who": "gemmi DensityCalculatorE, 1e-05"}),
    Goal("K1", "cryoJAX 0.6 `n_spread=9` over ours", 20.0, "ratio", {**ADK, "who": "cryoJAX 0.6.0 local, n_spread 9"}),
    Goal("K1", "cryoJAX dense over ours", 300.0, "ratio", {**ADK, "who": "cryoJAX 0.5.6 dense"}),
    Goal("K1", "our relative L2 error", 1e-5, "error", {**ADK, "who": "cryovox"}, most=True),
    Goal("K3", "time an atom over that of adk's, the worst of 10 k … 164 k", 1.1, "growth", {"who": "cryovox"}, most=True),
    Goal("K3 workers", "one worker over two, one frame more", 1.8, "ratio", {"who": "cryovox run, 1 worker, one"}),
    Goal("T1", "gemmi + mrcfile over our wall", 25.0, "ratio", {"who": "gemmi 1e-5 + mrcfile, one"}),
    Goal("T1", "cryoJAX 0.6 + zarr-python over our wall", 60.0, "ratio", {"who": "cryoJAX 0.6.0"}),
    Goal("N1", "cryoJAX FFT over ours, Gaussian factors", 50.0, "ratio", {"who": "cryoJAX 0.5.6 FFT, peng1996, average"}),
    Goal("N1", "cryoJAX FFT over ours, points", 8.0, "ratio", {"who": "cryoJAX 0.5.6 FFT, peng1996, point"}),
    Goal("N1", "cryoJAX FFT over ours, Lobato", 8.0, "ratio", {"who": "cryoJAX 0.5.6 FFT, lobato2014"}),
    Goal("S1", "mrcfile over ours, one core", 5.0, "ratio", {"who": "mrcfile.open, one core"}),
    Goal("S1", "mrcfile over ours, one core, every voxel summed", 5.0, "ratio", {"who": "mrcfile.open, summed, one core"}),
    Goal("S1", "mrcfile over ours, all cores, every voxel summed", 5.0, "ratio", {"who": "mrcfile.open, summed, all cores"}),
)


def figure(goal: Goal, rows: list[Row]) -> float | None:
    """The worst of the rows that the goal looks at; None where none was measured."""
    wanted = {**goal.rows, "measure": goal.measure}
    found = [
        float(row[goal.of])
        for row in rows
        if all(str(row[key]).startswith(str(value)) if key == "who" else row[key] == value for key, value in wanted.items())
    ]
    return (max(found) if goal.most else min(found)) if found else None


def met(goal: Goal, value: float, share: float = 1.0) -> bool:
    """Whether a figure reaches `share` of the goal."""
    return value <= goal.bound / share if goal.most else value >= goal.bound * share


def verdicts(rows: list[Row]) -> Iterator[str]:
    """The goals that were measured, as Markdown."""
    yield "| # | figure | goal | measured | met |"
    yield "|---|---|---|---|---|"
    for goal in GOALS:
        value = figure(goal, rows)
        if value is not None:
            sign = "≤" if goal.most else "≥"
            reached = "yes" if met(goal, value) else "no"
            yield f"| {goal.measure} | {goal.says} | {sign} {goal.bound:g} | {value:.2g} | {reached} |"


def lines(rows: list[Row]) -> Iterator[str]:
    """Every row, as Markdown: a table for each measure."""
    for measure in dict.fromkeys(row["measure"] for row in rows):
        mine = [row for row in rows if row["measure"] == measure]
        extra = [key for key in ("us_an_atom", "growth", "ratio_to_one_more") if key in mine[0]]
        yield f"**{measure}**"
        yield ""
        yield f"| {' | '.join([*COLUMNS, *extra])} |"
        yield "|" + "---|" * (len(COLUMNS) + len(extra))
        for row in mine:
            yield "| " + " | ".join([*_cells(row), *(f"{row[key]:.3g}" for key in extra)]) + " |"
        yield ""


def _cells(row: Row) -> list[str]:
    z, y, x = row["shape"]
    box = f"{z}³" if z == y == x else f"{z}×{y}×{x}"
    least = f" ({row['least_ms']:.3g})" if "least_ms" in row else ""
    error = "" if row["error"] is None else f"{row['error']:.1e}"
    peak = "" if row["peak_mb"] is None else f"{row['peak_mb']:.0f}"
    cpu = [f"{row[key]:.3g}" if key in row else "" for key in ("cpu_ms", "cpu_ratio")]
    named, at = f"{row['system']} ({row['atoms']:,})", f"{box}, {row['voxel_size']:g} Å"
    return [named, at, row["who"], f"{row['ms']:.3g}{least}", f"{row['ratio']:.3g}", *cpu, error, row["sampling"], peak]


def machine() -> dict[str, Any]:
    """What was measured on."""
    import os

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.partition(":")[2].strip() for line in info.read_text("utf-8").splitlines() if line.startswith("model name")]
        cpu = names[0] if names else cpu
    load = os.getloadavg()[0]
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)), "load": load, "python": platform.python_version()}
