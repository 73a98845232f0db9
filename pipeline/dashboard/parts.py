"""The parts of the page: one glance says how far the run is, when it ends and whether anything is wrong.

Every part is HTML made by a function of a `Look`; whatever comes from files, names or errors is escaped on its way in.
"""

import base64
from collections.abc import Callable, Iterator, Sequence
from html import escape

from ..events.quantities import clock, duration, many, size, zone
from .figures import SPEED_OVER, Run, WorkerRow, complaints, words
from .plugin import JSON_PATH, Look

ROWS = 40
"""Workers in the table; of more, those that something is wrong with come first."""
SHOWN_COMPLAINTS = 8
STAGES = ("read", "render", "check", "write")
"""Stages that have a colour of their own; any other is shown in grey."""
SECONDS_MATTER = 600.0
"""Seconds before the end in which it is said to the second."""


def title_of(look: Look) -> str:
    """Of the browser's tab."""
    if look.run is None:
        return "cryovox"
    return f"{_share(look.run)} · {look.run.name} · cryovox"


def head(look: Look) -> str:
    """Which run, and how it stands."""
    run = look.run
    if run is None:
        return '<header><h1>cryovox</h1><span class="state wait">no run has been heard of yet</span></header>'
    tone, said = words(run)
    waits = run.state["state"] in ("waiting", "stopping") and not run.over and run.state["text"]
    why = f"<p class=faint>{escape(str(run.state['text']))}</p>" if waits else ""
    recipe = f"<span class=faint>recipe</span> {escape(run.state['recipe'])}" if run.state["recipe"] else ""
    others = "".join(
        f'<a href="?run={escape(other.key, quote=True)}">{escape(other.name)}</a> ({escape(words(other)[1])}) '
        for other in look.others
    )
    others = f"<nav>Other runs on this scheduler: {others}</nav>" if others else ""
    return (
        f"<header><h1>{escape(run.name)}</h1><span class=recipe>{recipe}</span>"
        f'<span class="state {tone}">{escape(said)}</span></header>{why}{others}'
    )


def progress(look: Look) -> str:
    """The bar, the frames by what became of them, and the figures beside it."""
    run = look.run
    if run is None:
        return ""
    state, total = run.state, run.state["frames"]
    parts = "".join(
        f'<i class={kind} style="width:{100 * state[kind] / total:.4f}%"></i>'
        for kind in ("done", "skipped", "failed")
        if total and state[kind]
    )
    counts = [f"<b>{state['done']:,}</b> of {total:,} frames done" if total else _before_the_first(state.get("survey"))]
    counts += [f"<b class={kind}>{state[kind]:,} {kind}</b>" for kind in ("skipped", "failed") if state[kind]]
    if run.pending:
        counts.append(f"{run.pending:,} to do")
    if state["before"]:
        counts.append(f"<span class=faint>{state['before']:,} were there before</span>")
    return (
        f"<section class=far><div class=share>{_share(run)}</div><div class=grow><div class=bar role=progressbar "
        f"aria-valuemin=0 aria-valuemax={total} aria-valuenow={run.handled}>{parts}</div>"
        f"<p class=counts>{' · '.join(counts)}</p></div></section>"
        f"<section class=tiles>{''.join(_tiles(look, run))}</section>"
    )


def _before_the_first(survey: Sequence[int] | None) -> str:
    """What is done while there is no grid yet."""
    if not survey:
        return "the frames are not counted yet"
    done, of = survey
    return f"all frames are read first, to find the box: {done:,} of {many(of, 'part')}"


def _share(run: Run) -> str:
    """Never 100 % while a frame is to do, never 0 % once one is done."""
    total = run.state["frames"]
    if not total:
        return "0 %"
    share = 100 * run.handled / total
    if not run.pending:
        return "100 %"
    return f"{min(share, 99.9):.1f} %" if total >= 1000 else f"{min(share, 99):.0f} %"


def _tiles(look: Look, run: Run) -> Iterator[str]:
    state, now = run.state, look.now
    if run.over:
        took = (state["updated"] or run.heard) - (state["began"] or run.heard)
        yield _tile("time taken", duration(took), f"ended {clock(run.heard, now)}")
    elif run.ends_at is None:
        yield _tile("time left", "–", _known_when(run))
        yield _tile("ends at", "–", zone(now))
    elif run.ends_at > now:
        yield _tile("time left", duration(run.ends_at - now), "at the speed of late")
        yield _tile("ends at", clock(run.ends_at, now, SECONDS_MATTER), zone(now))
    else:
        yield _tile("time left", "any moment", "later than expected")
        yield _tile("ends at", "–", zone(now))
    rate = state["frames_per_second"]
    shown = "–" if rate is None else f"{rate:.3g}" if rate < 100 else f"{rate:,.0f}"
    yield _tile("frames a second", shown, "" if not rate or rate >= 1 else f"{duration(1 / rate)} a frame")
    yield _tile("written", size(state["bytes"]), f"{many(state['shards'], 'shard')}")
    short = state["needed_bytes"] is not None and state["free_bytes"] is not None and state["needed_bytes"] > state["free_bytes"]
    needed = "" if state["needed_bytes"] is None or run.over else f"{size(state['needed_bytes'])} still needed"
    free = "not known" if state["free_bytes"] is None else size(state["free_bytes"])
    yield _tile("disk free", free, f"too small: {needed}" if short and needed else needed, "bad" if short and needed else "")
    if not run.over:
        busy = sum(worker.working > 0 for worker in look.workers)
        yield _tile("workers", f"{len(look.workers):,}", f"{busy:,} at work")


def _known_when(run: Run) -> str:
    """Why nobody can say when it ends."""
    if run.waits and run.state["frames"]:
        return "known when work goes on"
    if run.state["state"] == "stopping":
        return "it stops before the last frame"
    return f"known after {'the next' if run.state['shards'] else 'a first'} shard"


def _tile(name: str, value: str, more: str = "", tone: str = "") -> str:
    return (
        f'<div class="tile {tone}"><span class=name>{escape(name)}</span><span class=value>{escape(value)}</span>'
        f"<span class=more>{escape(more)}</span></div>"
    )


def wrong(look: Look) -> str:
    """The strip that says whether anything is wrong."""
    run = look.run
    if run is None:
        return ""
    found = complaints(run, look.workers, look.now)
    if not found:
        return '<section class="wrong good" role=status><h2>✓ Nothing is wrong</h2></section>'
    grave = any(one.grave for one in found)
    rows = "".join(
        f"<li class={'grave' if one.grave else 'mild'}><pre>{escape(one.text)}</pre>"
        f"<time>{'' if one.at is None else clock(one.at, look.now)}</time></li>"
        for one in found[:SHOWN_COMPLAINTS]
    )
    more = len(found) - SHOWN_COMPLAINTS
    rows += f"<li class=mild>and {many(more, 'earlier one')}, in the log</li>" if more > 0 else ""
    heading = "✗ Something is wrong" if grave else "! Worth a look; the run goes on" if not run.over else "! Worth a look"
    return f'<section class="wrong {"bad" if grave else "wait"}" role=status><h2>{heading}</h2><ul>{rows}</ul></section>'


def pace(look: Look) -> str:
    """The heading of the plot."""
    known = look.run is not None and look.run.speeds
    note = "" if known else "<p class=faint>Nothing is known until a second shard is done.</p>"
    return f"<h2>Frames a second <span class=faint>the mean of {SPEED_OVER:.0f} s</span></h2>{note}"


def stages(look: Look) -> str:
    """Where the workers' time goes."""
    seconds = {} if look.run is None else {str(k): float(v) for k, v in look.run.state["seconds"].items() if v > 0}
    total = sum(seconds.values())
    if not total:
        return "<h2>Where the workers' time goes</h2><p class=faint>Nothing is known until a first shard is done.</p>"
    order = [name for name in STAGES if name in seconds] + sorted(set(seconds) - set(STAGES))
    parts = [(name, name if name in STAGES else "", 100 * seconds[name] / total) for name in order]
    bar = "".join(f'<i class="stage {colour}" style="width:{share:.3f}%"></i>' for _, colour, share in parts)
    key = "".join(
        f'<span><i class="dot {colour}"></i>{escape(name)} <b>{share:.0f} %</b></span>' for name, colour, share in parts
    )
    return (
        f"<h2>Where the workers' time goes <span class=faint>{escape(duration(total))} of all workers together</span></h2>"
        f"<div class=bar>{bar}</div><p class=key>{key}</p>"
    )


def pictures(look: Look) -> str:
    """The newest volumes, seen along z."""
    run = look.run
    if run is None or not run.pictures:
        said = "The first comes with a finished shard." if run is None or not run.no_pictures else run.no_pictures
        return f"<h2>Newest volumes</h2><p class=faint>{escape(said)}</p>"
    shown = "".join(
        f"<figure><img alt='frame {picture.frame}' src='data:image/png;base64,{base64.b64encode(picture.png).decode()}'>"
        f"<figcaption>frame {picture.frame:,}</figcaption></figure>"
        for picture in reversed(run.pictures)
    )
    note = f"<p class=faint>{escape(run.no_pictures)}</p>" if run.no_pictures else ""
    return f"<h2>Newest volumes <span class=faint>projected along z</span></h2><div class=pictures>{shown}</div>{note}"


def workers(look: Look) -> str:
    """A row a worker."""
    gone = 0 if look.run is None else look.run.state["workers_gone"]
    came = f" <span class=faint>{many(gone, 'worker')} came and went</span>" if gone else ""
    heading = f"<h2>Workers{came}</h2>"
    if not look.workers:
        return f"{heading}<p class=faint>None is there.</p>"
    with_gpu = any(row.gpu is not None or row.gpu_memory is not None for row in look.workers)
    rows = look.workers
    if len(rows) > ROWS:
        rows = sorted(rows, key=lambda row: (row.state == "running" and row.silent < 30, -(row.memory or 0)))[:ROWS]
    titles = ["worker", "host", "state", "tasks", "CPU", "memory", *(["GPU", "GPU memory"] if with_gpu else []), "heard of"]
    table = "".join(f"<tr>{''.join(_cells(row, with_gpu))}</tr>" for row in rows)
    more = f"<p class=faint>and {len(look.workers) - ROWS:,} more</p>" if len(look.workers) > ROWS else ""
    header = "".join(f"<th>{title}</th>" for title in titles)
    return f"{heading}<div class=scroll><table><tr>{header}</tr>{table}</table></div>{more}"


def _cells(row: WorkerRow, with_gpu: bool) -> Iterator[str]:
    tone = "good" if row.state == "running" else "wait"
    yield f"<td>{escape(row.name)}</td><td>{escape(row.host)}</td><td class={tone}>{escape(row.state.replace('_', ' '))}</td>"
    yield f"<td>{row.working} at work{f', {row.waiting} next' if row.waiting else ''}</td>"
    yield f"<td>{'–' if row.cpu is None else f'{row.cpu:.0f} %'}</td>"
    yield _of(row.memory, row.limit)
    if with_gpu:
        yield f"<td>{'–' if row.gpu is None else f'{row.gpu:.0f} %'}</td>"
        yield _of(row.gpu_memory, row.gpu_memory_limit)
    yield f"<td>{'now' if row.silent < 5 else f'{duration(row.silent)} ago'}</td>"


def _of(used: int | None, limit: int | None) -> str:
    if used is None:
        return "<td>–</td>"
    if not limit:
        return f"<td>{size(used)}</td>"
    share = min(100.0, 100 * used / limit)
    tone = "bad" if share > 90 else "wait" if share > 75 else ""
    return f'<td><span class=meter><i class="{tone}" style="width:{share:.0f}%"></i></span>{size(used)} of {size(limit)}</td>'


def foot(look: Look) -> str:
    """Where the rest is."""
    run, links = look.run, f'<a href=".{JSON_PATH}">progress.json</a> · <a href="status">the Dask dashboard</a>'
    if run is None:
        return f"<footer>{links}</footer>"
    state = run.state
    job = f", SLURM job {escape(str(state['slurm_job']))}" if state["slurm_job"] else ""
    began = f" · began {clock(float(state['began']), look.now)}" if state["began"] else ""
    error = f" · largest mass error {state['mass_error']:.1e}" if state["mass_error"] is not None else ""
    folder = f"log and report in {escape(run.folder)} · " if run.folder else ""
    return (
        f"<footer>heard of {clock(run.heard, look.now)}; times are the scheduler’s, {escape(zone(look.now))}{began}{error} · "
        f"command on {escape(str(state['host']))} (process {escape(str(state['pid']))}{job})<br>"
        f"store {escape(str(state['store']))} · {folder}{links}</footer>"
    )


DRAWN: dict[str, Callable[[Look], str]] = {
    "head": head,
    "progress": progress,
    "wrong": wrong,
    "pace": pace,
    "stages": stages,
    "pictures": pictures,
    "workers": workers,
    "foot": foot,
}
"""The parts of the page, by the name of their place in the template."""
