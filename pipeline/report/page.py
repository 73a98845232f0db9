"""The report as one page: a pure function of what `facts.py` gathered, in the order in which a stranger asks."""

import math
from collections.abc import Iterator
from typing import Any

from ...tasks.pictures.charts import shares
from ...tasks.render.certificate import relative
from ...tasks.values import FrameStatus
from ..events.quantities import counted, duration, figure, moment, size
from .facts import NAMED, Facts
from .history import Run
from .markup import Html, document, fill, joined, listed, table
from .pictures import pictures, traces
from .text import opening, proof, recipe_text, repeating, source_of_table, summary


def page(facts: Facts) -> str:
    """The page as HTML."""
    sections = (
        ("pictures", "Pictures across the ensemble", pictures(facts)),
        ("figures", "Figures", _figures(facts)),
        ("frames", "Every frame", traces(facts)),
        ("failures", "Failures and skipped frames", _failures(facts)),
        ("certificate", "Certificate", _certificate(facts)),
        ("time", "Where the time went", _stages(facts)),
        ("runs", "Runs", _runs(facts)),
        ("warnings", "Warnings", _warnings(facts)),
        ("provenance", "Provenance", _provenance(facts)),
        ("use", "Open and repeat", _use(facts)),
    )
    body = fill(
        '<main><header><p class="kind">cryovox report</p><h1>{}</h1>{}{}<p class="lead" id="summary">{}</p><nav>{}</nav></header>'
        '{}<footer class="note">Written {} from the store\'s own ledger and attributes. This file is complete in itself.'
        "</footer></main>",
        facts.name,
        _mark(facts),
        _resume(facts),
        summary(facts),
        joined(fill('<a href="#{}">{}</a> ', key, title) for key, title, _ in sections),
        joined(fill('<section id="{}"><h2>{}</h2>{}</section>', *section) for section in sections),
        moment(facts.written),
    )
    return document(f"{facts.name}: cryovox report", body)


def _mark(facts: Facts) -> Html:
    pending, kind = facts.frames.count(FrameStatus.PENDING), "warn"
    lost = facts.frames.count(FrameStatus.SKIPPED) + facts.frames.count(FrameStatus.FAILED)
    if pending:
        text = f"not complete: {pending:,} pending"
    elif not facts.attributes["complete"]:
        text = "not complete: not closed"
    elif lost:
        text = f"complete without {counted(lost, 'frame')}"
    else:
        text, kind = "complete", "good"
    return fill('<span class="mark {}" id="mark">{}</span>', "bad" if facts.damaged else kind, text)


def _resume(facts: Facts) -> Html:
    """What to do with a store that is not complete."""
    if facts.attributes["complete"] and not facts.frames.count(FrameStatus.PENDING):
        return Html("")
    last = f"The last run: {_ended(facts.history.runs[-1])}. " if facts.history.runs else ""
    text = f"{last}Nothing that was done is lost: the command that began the store continues it."
    return fill('<p class="warn" id="resume">{}</p>{}', text, fill("<pre>{}</pre>", facts.command) if facts.command else Html(""))


def _figures(facts: Facts) -> Html:
    layout, runs = facts.layout, facts.history.runs
    n = {status: facts.frames.count(status) for status in FrameStatus}
    z, y, x = shape = layout.grid.shape
    done, h = n[FrameStatus.DONE], layout.grid.voxel_size
    dense = layout.dense_bytes / layout.n_frames * done
    made, elapsed = sum(run.made for run in runs), math.fsum(run.elapsed or 0.0 for run in runs)
    cards = (
        (f"{done:,} of {layout.n_frames:,}", "frames done"),
        (f"{z}³" if len(set(shape)) == 1 else f"{z}×{y}×{x}", f"voxels of {h:g} Å"),
        (size(facts.size), "on disk"),
        (size(dense), "dense"),
        (f"{dense / facts.size:.1f} times" if facts.size else "–", "smaller than dense"),
        (f"{figure(made / elapsed)} /s" if made and elapsed else "–", "frames, start-up and close included"),
    )
    shown = joined(fill('<div class="card"><b>{}</b><span>{}</span></div>', *card) for card in cards)
    return fill('<div class="cards">{}</div>{}', shown, table((), _more_figures(facts, n), "plain"))


def _more_figures(facts: Facts, n: dict[FrameStatus, int]) -> Iterator[tuple[str, str]]:
    layout, ours = facts.layout, facts.attributes
    grid, done, keepbits = layout.grid, n[FrameStatus.DONE], ours["recipe"]["store"].get("keepbits")
    yield "frames", ", ".join(f"{count:,} {status.name.lower()}" for status, count in n.items())
    if "n_atoms" in ours:
        yield "atoms a frame", f"{ours['n_atoms']:,}"
    if "map_shape" in ours:
        yield "the map", f"{' × '.join(map(str, ours['map_shape']))} voxels (z, y, x) of {ours['map_voxel_size']:g} Å"
    yield "grid", f"{' × '.join(map(str, grid.shape))} voxels (z, y, x) of {grid.voxel_size:g} Å"
    yield "box", f"{' × '.join(f'{extent * grid.voxel_size:g}' for extent in grid.shape)} Å"
    yield "voxels are", layout.dtype + ("" if keepbits is None else f", {keepbits} mantissa bits kept")
    if facts.volts is not None:
        yield "in volts", f"a voxel times {facts.volts:g}"
    yield "shards", f"{layout.n_shards:,} of {counted(layout.frames_per_shard, 'frame')}, in bricks of {grid.brick}³ voxels"
    if done:
        yield "bytes a frame", f"{size(facts.size / done)} on average"
    if facts.engines:
        yield "drawn by", ", ".join(facts.engines)
    if facts.history.runs and (speed := facts.history.runs[-1].frames_per_second) is not None:
        yield "speed at last", f"{figure(speed, 3)} frames/s with {counted(facts.history.runs[-1].workers, 'worker')}"


def _failures(facts: Facts) -> Html:
    lost = facts.frames.count(FrameStatus.SKIPPED) + facts.frames.count(FrameStatus.FAILED)
    lines = [
        f"frame {frame}{_origin(facts, frame)}, {status.name.lower()}: {reason or 'no reason was kept'}"
        for frame, status, reason in facts.reasons
    ]
    named = listed(lines, lost - len(lines), "bad") if lost else Html("<p>No frame was skipped and none failed.</p>")
    if not facts.damaged:
        return named
    shards = [str(problem) for problem in facts.damaged[:NAMED]]
    heading = Html("<h3>Damaged shards: the command that began the store makes them anew</h3>")
    return joined([named, heading, listed(shards, len(facts.damaged) - len(shards), "bad")])


def _origin(facts: Facts, frame: int) -> str:
    source = int(facts.frames.source_frame[frame])
    return "" if source in (frame, -1) else f" ({source} of its source)"


def _certificate(facts: Facts) -> Html:
    certificate = proof(facts)
    if certificate is None:
        return Html("<p>No frame has been compared yet.</p>")
    far = "" if "against" in certificate else " These are the frames so far: the store is not closed."
    text = (
        f"{counted(certificate['frames'], 'frame').capitalize()} compared at {certificate['voxels']:,} voxels, drawn at random "
        f"inside and outside the object. The limit is each frame's, before it was rounded to the store's type.{far}"
    )
    head = ("what", "asked for", "limit", "got", "against")
    compared = [
        (f"frame {frame}", f"{one.n_voxels:,}", *(figure(error, 3) for error in relative([one])))
        for frame, one in facts.accuracies[:NAMED]
    ]
    each = table(("", "voxels", "relative L2 error", "largest error"), compared, "numbers")
    more = len(facts.accuracies) - len(compared)
    rest = fill('<p class="more">… and {} more frames</p>', f"{more:,}") if more else Html("")
    return fill("<p>{}</p>{}<h3>Frame by frame</h3>{}{}", text, table(head, _proven(certificate)), each, rest)


def _proven(certificate: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    asked, limit = figure(certificate["tolerance"]), figure(certificate.get("limit"))
    against = certificate.get("against", "its oracle")
    yield "relative L2 error", asked, limit, figure(certificate["relative_l2"], 3), against
    yield "largest error, of the largest value", asked, limit, figure(certificate["largest_error"], 3), against
    if (mass := certificate.get("mass_error")) is not None:
        yield "mass, largest error of a frame", asked, "–", figure(mass, 3), "the analytic mass in the box"
    if (lost := certificate.get("lost")) is not None:
        yield "mass outside the box, largest share", "–", "–", figure(lost, 3), "all of a frame's mass"


def _stages(facts: Facts) -> Html:
    total: dict[str, float] = {}
    for run in facts.history.runs:
        for stage, seconds in run.seconds:
            total[stage] = total.get(stage, 0.0) + seconds
    spent, made = math.fsum(total.values()), sum(run.made for run in facts.history.runs)
    if not spent:
        return Html("<p>No run has left its times.</p>")
    rows = [
        (fill('<span class="key key{}"></span>{}', i, stage), *_spent(seconds, spent, made))
        for i, (stage, seconds) in enumerate(total.items())
    ]
    rows.append((Html("together"), *_spent(spent, spent, made)))
    note = "Seconds of all workers, over all runs: to read and place frames, to draw, to check, and to compress and write them."
    numbers = table(("stage", "worker seconds", "share", "ms a frame"), rows, "numbers")
    return fill('<p class="note">{}</p>{}{}', note, Html(shares(list(total.values()))), numbers)


def _spent(seconds: float, of: float, frames: int) -> tuple[str, str, str]:
    return f"{seconds:,.2f}", f"{seconds / of:.1%}", f"{1e3 * seconds / frames:,.2f}" if frames else "–"


def _runs(facts: Facts) -> Html:
    runs, unreadable = facts.history.runs, facts.history.unreadable
    bad = listed(unreadable[:NAMED], len(unreadable[NAMED:]), "bad") if unreadable else Html("")
    n_earlier = facts.history.earlier
    earlier = f"{counted(n_earlier, 'run').capitalize()} before made a store that is gone." if n_earlier else ""
    if not runs:
        return fill("<p>No run has left its line. {}</p>{}", earlier, bad)
    elapsed = math.fsum(run.elapsed or 0.0 for run in runs)
    made, written, gone = (sum(of) for of in zip(*((run.made, run.bytes, run.workers_gone) for run in runs), strict=True))
    went = f", {counted(gone, 'worker')} came and went" if gone else ""
    text = (
        f"{counted(len(runs), 'run').capitalize()}, {duration(elapsed)} together: {counted(made, 'frame')} made, {size(written)} "
        f"written{went}. Frames/s are those of a run from its first word to its last. {earlier}"
    )
    head = ("", "began", "lasted", "host", "SLURM job", "workers", "frames", "frames/s", "written", "ended")
    shown = list(enumerate(runs, 1))[-NAMED:]
    cut = len(runs) - len(shown)
    more = fill('<p class="more">Of these the first {} are not listed.</p>', f"{cut:,}") if cut else Html("")
    long = [(i, run.reason.strip()) for i, run in shown if run.reason and "\n" in run.reason.strip()][-10:]
    whole = joined(
        fill("<details><summary>Run {}: all that it said at its end</summary><pre>{}</pre></details>", *one) for one in long
    )
    return joined([fill("<p>{}</p>", text), table(head, (_run(i, run) for i, run in shown), "runs"), more, whole, bad])


def _run(number: int, run: Run) -> tuple[str, ...]:
    workers = f"{run.workers}, {run.workers_gone} went" if run.workers_gone else str(run.workers)
    lasted = "–" if run.elapsed is None else duration(run.elapsed)
    numbers = (f"{run.made:,}", figure(run.mean_speed), size(run.bytes))
    return (str(number), moment(run.began), lasted, run.host or "–", run.slurm_job or "–", workers, *numbers, _ended(run))


def _ended(run: Run) -> str:
    lines = (run.reason or "").strip().splitlines()
    if not lines:
        return run.state
    # a traceback says what happened in its last line
    line = lines[-1] if lines[0].startswith("Traceback") else lines[0]
    return f"{run.state}: {line if len(line) <= 200 else line[:199] + '…'}"


def _warnings(facts: Facts) -> Html:
    runs = facts.history.runs
    kept = [f"{moment(at)}, run {i}: {text[:500]}" for i, run in enumerate(runs, 1) for at, text in run.warnings][-NAMED:]
    total = sum(max(run.n_warnings, len(run.warnings)) for run in runs)
    return listed(kept, total - len(kept), "warn") if total else Html("<p>None.</p>")


def _provenance(facts: Facts) -> Html:
    sources = facts.attributes["sources"]
    files = [
        (source["name"], f"{source['size']:,}", fill('<span class="mono">{}</span>', source["digest"]))
        for source in sources[:NAMED]
    ]
    more = fill('<p class="more">… and {} more</p>', f"{len(sources) - NAMED:,}") if len(sources) > NAMED else Html("")
    return fill(
        '{}<h3>Input files</h3>{}{}<h3>Recipe</h3><pre id="recipe">{}</pre>',
        table((), _origins(facts), "plain"),
        table(("file", "bytes", "digest"), files),
        more,
        recipe_text(facts),
    )


def _origins(facts: Facts) -> Iterator[tuple[object, object]]:
    ours = facts.attributes
    yield "convention", ours["convention"]
    yield "made with", ", ".join(f"{name} {number}" for name, number in ours["versions"].items())
    if facts.command:
        yield "command", fill('<span class="mono">{}</span>', facts.command)
    if (paper := source_of_table(facts)) is not None:
        yield "scattering factors", paper
    yield "recipe hash", fill('<span class="mono">sha256:{}</span>', ours["recipe_hash"])
    for note in ours["notes"][:NAMED]:
        yield "note", note


def _use(facts: Facts) -> Html:
    how, lines = repeating(facts)
    return fill(
        '<h3>Open it</h3><p>In the folder that holds the store, with any reader of Zarr v3:</p><pre id="open">{}</pre>'
        '<h3>Repeat it</h3><p>{}</p><pre id="repeat">{}</pre>',
        opening(facts),
        how,
        lines,
    )
