"""Ours against the peers, in turn, in one run: python tests/benchmarks/compare.py [--measure K1 …] [--json FILE]

The peers' environments come first: python tests/benchmarks/peers.py. Measures: K1 kernel · K3 growth with atoms · W one and two
workers · N1 FFT path · T1 end to end · S1 reading; `K1-small` is K1's first comparison. About 20 minutes for all of them.
Median of the rounds; `ratio` is the peer's time over ours, the median of each round's own; the CPU columns are the same of the
threads' own time, to which other programs add less. Work on a quiet machine: a neighbour that fills the caches slows down most
who draws dense boxes, so ratios come out too large.
"""

import argparse
import datetime
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import peers
import table
from kernel import Setting, k1, k3, n1
from reading import s1
from turns import said
from whole_runs import t1, workers

MEASURES: dict[str, Callable[[Setting], list[dict[str, Any]]]] = {
    "K1": k1, "K3": k3, "W": workers, "N1": n1, "T1": t1, "S1": s1, "K1-small": partial(k1, small=True),
}  # fmt: skip


def main() -> None:
    """Prints the goals' verdicts and every row; writes them as JSON."""
    parser = argparse.ArgumentParser(description="Compare cryovox with its peers on this machine")
    parser.add_argument("--measure", nargs="+", choices=list(MEASURES), default=[name for name in MEASURES if name != "K1-small"])
    parser.add_argument("--peers", type=Path, default=peers.PEERS, metavar="FOLDER", help="made by peers.py")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there too")
    parser.add_argument("--repetitions", type=int, default=5, help="rounds after the warm-up")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="for what runs on one core")
    parser.add_argument("--backend", help="the brick engine's, where it has several")
    chosen = parser.parse_args()
    folder = chosen.peers.absolute()
    for environment in peers.REQUIREMENTS:
        peers.python_of(environment, folder)
    if (load := os.getloadavg()[0]) > 0.5:
        said(f"others are at work on this machine (load {load:.1f}): these are no figures to quote")
    options = {"backend": chosen.backend} if chosen.backend else {}
    setting = Setting(folder, str(chosen.core), chosen.repetitions, Path(sys.executable), options)
    found = {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "machine": table.machine()}
    rows: list[dict[str, Any]] = []
    for name in chosen.measure:
        rows += MEASURES[name](setting)
        if chosen.json:  # after every measure: what was measured is not lost with what fails
            chosen.json.write_text(json.dumps({**found, "rows": rows}, indent=1) + "\n", "utf-8")
    print(f"{found['date']}, {found['machine']}")
    print()
    print("\n".join([*table.verdicts(rows), "", *table.lines(rows)]))


if __name__ == "__main__":
    main()
