"""Commands that begin with a store: `status`, `verify`, `reproduce`, `preview`, `export`."""

import json
import shlex
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ...tasks.errors import Problem, Refusal
from ..events.exits import Exit
from ..events.signals import held, listening
from .options import AsJson, Cluster, ClusterOverrides, StoreFolder, TakeOver, app, to_stderr


@app.command()
def status(store: StoreFolder, as_json: AsJson = False) -> None:
    """Show how far a store is, from its own ledger."""
    from ..status import status as look
    from ..summary import status_lines

    found = look(store)
    for line in [json.dumps(found.to_json(), indent=1)] if as_json else status_lines(found):
        typer.echo(line)
    if found.damaged:
        raise typer.Exit(Exit.STOPPED)


@app.command()
def verify(
    store: StoreFolder,
    deep: Annotated[bool, typer.Option("--deep", help="Read every byte; goes on where an interrupted pass was.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Make anew what is damaged, by the recipe as it was run.")] = False,
    as_json: AsJson = False,
    cluster: Cluster = "local",
    cluster_overrides: ClusterOverrides = None,
    take_over: TakeOver = False,
) -> None:
    """Look for damage: rot, truncated, lost and swapped files; with --repair, heal it."""
    from ..summary import repair_lines, verify_lines

    if repair:
        from ..clusters.profile import load_profile
        from ..verify_average import no_repair

        no_repair(store)
        profile = load_profile(cluster, cluster_overrides or [])
        with held():
            from ..repair import repair as heal
        made = heal(store, deep, profile, shlex.join(["cryovox", *sys.argv[1:]]), to_stderr, take_over)
        lines, said, code = repair_lines(made), made.to_json(), made.exit
    else:
        with held():
            from ..verify import verify as look
            from ..verify_average import is_average, verify_average
        with listening(to_stderr) as signals, signals.asked_for() as stop:
            if is_average(store):
                both = verify_average(store, deep, stop)
                lines, said, code = both.lines(), both.to_json(), both.exit
            else:
                found = look(store, deep, stop)
                lines, said, code = verify_lines(found), found.to_json(), Exit.STOPPED if found.findings else Exit.DONE
    for line in [json.dumps(said, indent=1)] if as_json else lines:
        typer.echo(line)
    raise typer.Exit(code)


@app.command()
def reproduce(
    store: StoreFolder,
    frames: Annotated[
        str | None,
        typer.Option("--frames", metavar="A:B", help="As Python slices count: 0:10, ::5 or 3; without, eight of them."),
    ] = None,
    inputs: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the inputs lie; without, where they lay when it was run.")
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(metavar="FILE.yaml", help="Only write the store's recipe there; no frame is made.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make some of a store's frames again from its own recipe and inputs, and compare every voxel; nothing of it changes."""
    if recipe is not None and frames is not None:
        raise Refusal(Problem("a recipe is written, or frames are made", "--recipe", "--frames too", "one of the two"))
    if recipe is not None:
        from ..open.rebuilt import rebuilt, write_recipe

        write_recipe(rebuilt(store, inputs), store, recipe)
        typer.echo(f"recipe       {recipe}")
        return
    with held():
        from ..open.reproduce import reproduce as again
    found = again(store, None if frames is None else _slice(frames), inputs)
    for line in [json.dumps(found.to_json(), indent=1)] if as_json else found.lines():
        typer.echo(line)
    if found.others:
        raise typer.Exit(Exit.STOPPED)


class Kind(StrEnum):
    """Of a picture."""

    SHEET = "sheet"
    PROJECTIONS = "projections"
    SLICES = "slices"


@app.command()
def preview(
    store: StoreFolder,
    frames: Annotated[
        str | None,
        typer.Option("--frames", metavar="A:B", help="As Python slices count: 0:98:10, ::5 or 3; without, some spread evenly."),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A .png, .pdf or .svg; without, preview.png in the run's folder.")
    ] = None,
    kind: Annotated[
        Kind, typer.Option(help="Many frames along z; a few along z, y and x; or their central slices.")
    ] = Kind.SHEET,
    columns: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Of a sheet; without, as large as a page allows.")
    ] = None,
) -> None:
    """Draw frames side by side on a page, for a paper or a look; of an unfinished store, those that are done."""
    from ..preview import preview as draw

    for line in draw(store, None if frames is None else _slice(frames), to, kind.value, columns).lines():
        typer.echo(line)


class Origin(StrEnum):
    """Where a map's box stands."""

    MODEL = "model"
    ZERO = "zero"


@app.command()
def export(
    store: StoreFolder,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="Folder for the volumes as MRC files, tables of the frames, a ChimeraX script."),
    ] = None,
    trajectory: Annotated[
        Path | None, typer.Option("--trajectory", metavar="FILE.dcd", help="Where to write the frames' atoms.")
    ] = None,
    frames: Annotated[
        str, typer.Option("--frames", metavar="A:B", help="Frames of the store, as Python slices count: 0:10, ::5 or 3.")
    ] = ":",
    region: Annotated[
        str, typer.Option("--region", metavar="Z0:Z1,Y0:Y1,X0:X1", help="Only these voxels, as Python slices count.")
    ] = "",
    box: Annotated[
        str,
        typer.Option("--box", metavar="cubic|N", help="Pad with zeros to an even cube: the smallest, or of N voxels a side."),
    ] = "",
    origin: Annotated[
        Origin, typer.Option("--origin", help="Put the maps on the atoms that were drawn, or their first voxel at 0.")
    ] = Origin.MODEL,
    stack: Annotated[bool, typer.Option("--stack", help="All volumes in one MRC file, instead of a file each.")] = False,
) -> None:
    """Write frames for other programs: volumes as MRC, atoms as they were placed and drawn; run again to resume."""
    choice = _slice(frames)
    of_volumes = {"--region": region, "--box": box, "--origin": origin is not Origin.MODEL, "--stack": stack}
    if problems := list(_idle(to, trajectory, of_volumes)):
        raise Refusal(problems)
    with held():
        from ..export.asked import Wanted
        from ..export.maps import maps
        from ..export.trajectory import placed

    if to is None:
        assert trajectory is not None  # one of the two, or refused
        for line in placed(store, trajectory, choice).write(say=to_stderr).lines():
            typer.echo(line)
        return
    file = trajectory
    ready = maps(
        store,
        Wanted(to, choice, region, box, origin.value, stack),
        None if file is None else lambda begun: placed(store, file, choice, begun),
    )
    with listening(to_stderr) as signals, signals.asked_for() as stop:
        written = ready.write(stop, to_stderr)
    for line in written.lines():
        typer.echo(line)


def _idle(to: Path | None, trajectory: Path | None, of_volumes: dict[str, Any]) -> Iterator[Problem]:
    """What of the options does nothing: neither an output, or options of an output that is not asked for."""
    if to is None and trajectory is None:
        fix = "--to maps writes the volumes, --trajectory placed.dcd the atoms"
        yield Problem("nothing says what to export", "the command", "neither --to nor --trajectory", "one of them, or both", fix)
    elif to is None:
        for option in (option for option, value in of_volumes.items() if value):
            yield Problem("the option is one of volumes", option, "no --to", "--to DIR", "leave it out, or say where they go")


def _slice(text: str) -> slice:
    """`3:10`, `::5` or `7`. Raises `Refusal`."""
    words = text.split(":")
    try:
        numbers = [int(word) if word.strip() else None for word in words]
        if len(words) == 1 and numbers[0] is not None:
            return slice(numbers[0], numbers[0] + 1 or None)
        if 2 <= len(words) <= 3 and numbers[2:] != [0]:
            return slice(*numbers)
    except ValueError:
        pass
    raise Refusal(Problem("the frames cannot be read", "--frames", text, "A:B, A:B:STEP or one number", "--frames 0:10"))
