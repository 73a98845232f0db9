"""The command line. Imports are made in the commands: `--help` and a refused recipe need none of JAX, Dask or MDAnalysis."""

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..tasks.errors import Problem, Refusal
from .events.exits import Exit, Interrupted, exit_of
from .events.signals import held, listening

app = typer.Typer(
    name="cryovox",
    help="Structural ensembles to cryo-EM scattering potentials: one volume a frame, in sharded Zarr stores.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="YAML file that says what to compute.")]
StoreFolder = Annotated[Path, typer.Argument(metavar="STORE", help="Folder of a store that `run` began.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a recipe key, e.g. grid.voxel_size=2.0")
]
Cluster = Annotated[str, typer.Option(metavar="PROFILE", help="Where to compute: a profile's name or file.")]
ClusterOverrides = Annotated[
    list[str] | None, typer.Option("--cluster-set", metavar="KEY=VALUE", help="Override a profile key, e.g. workers=4")
]
TakeOver = Annotated[
    bool, typer.Option("--take-over", help="Take the store from a run of another machine that was silent for ten minutes.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Prune = Annotated[int | None, typer.Option(metavar="N", min=1, help="Only so many frames, spread evenly: for a trial.")]
Ensemble = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files of an ensemble, or the folder that they are in.")]


_CLICK_ABORTED = 130
"""What typer makes of Ctrl-C before a command has taken the signals over."""


def main() -> int:
    """The entry point of the `cryovox` command: the exit code."""
    _open_streams()
    try:
        app(standalone_mode=True)
    except (Exception, Interrupted) as error:  # every command's known ends; a fault of the program keeps its traceback
        code = exit_of(error)
        if code is None:
            raise
        typer.echo(f"{error}", err=True)
        return code
    except SystemExit as end:
        if end.code == _CLICK_ABORTED:
            return Exit.INTERRUPTED
        return end.code if isinstance(end.code, int) else Exit.PROGRAM_ERROR
    return Exit.DONE


def _open_streams() -> None:
    """Of one who was started with some of them closed: whatever is opened next would be taken for one by its children."""
    for stream in range(3):
        try:
            os.fstat(stream)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free


@app.command()
def init(
    files: Ensemble,
    to: Annotated[Path, typer.Option(metavar="RECIPE", help="Where the recipe goes; nothing is overwritten.")] = Path(
        "recipe.yaml"
    ),
) -> None:
    """Write a commented recipe for the ensemble in some files: the first step."""
    from .init import init as begin
    from .summary import begun_lines

    for line in begun_lines(begin(files, to)):
        typer.echo(line)


@app.command()
def inspect(
    files: Annotated[list[Path], typer.Argument(metavar="RECIPE|FILE...", help="A recipe, or the files of an ensemble.")],
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show what an ensemble is, what of it misleads, and the recipe's line that answers it; write nothing."""
    from .inspect import inspect as look
    from .summary import inspected_lines

    found = look(files, overrides or [])
    for line in [json.dumps(found.to_json(), indent=1)] if as_json else inspected_lines(found):
        typer.echo(line)
    if found.problems:
        raise Refusal(found.problems)


@app.command()
def run(
    recipe: RecipeFile,
    overrides: Overrides = None,
    prune: Prune = None,
    cluster: Cluster = "local",
    cluster_overrides: ClusterOverrides = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start over: remove the store that is there.")] = False,
    extend: Annotated[bool, typer.Option("--extend", help="Go on with a store whose ensemble has more frames by now.")] = False,
    take_over: TakeOver = False,
) -> None:
    """Render every frame of the recipe's ensemble into its store; run again to resume."""
    from .prepare import Onto, owned, prepare

    if overwrite and extend:
        raise Refusal(Problem("a store is started over or extended", "--overwrite", "--extend too", "one of the two"))
    onto = Onto.ANY if overwrite else Onto.GROWING if extend else Onto.SAME
    loaded, profile, store = prepare(recipe, _pruned(overrides, prune), cluster, cluster_overrides or [], onto)
    with held():
        from .foreground import in_the_foreground  # Dask and its kin: only for a recipe that is not refused

    once = ("--overwrite", "--take-over")
    resume = shlex.join(["cryovox", *(word for word in sys.argv[1:] if word not in once)])
    with owned(store, take_over) as (folder, lock):
        code = in_the_foreground(loaded, profile, store, onto, folder, lock, resume)
    raise typer.Exit(code)


@app.command()
def submit(
    recipe: RecipeFile,
    overrides: Overrides = None,
    prune: Prune = None,
    cluster: Cluster = "slurm",
    cluster_overrides: ClusterOverrides = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the script; submit nothing.")] = False,
) -> None:
    """Submit the run itself as a SLURM job, which is requeued when its time is up."""
    from .prepare import prepare

    overrides = _pruned(overrides, prune)
    # no --overwrite: a job that is requeued would start over each time
    _, profile, store = prepare(recipe, overrides, cluster, cluster_overrides or [])
    from .clusters.submit import submit as hand_over

    words = [str(recipe), *_repeated("--set", overrides), "--cluster", cluster, *_repeated("--cluster-set", cluster_overrides)]
    for line in hand_over(profile, words, store, dry_run):
        typer.echo(line)


def _lacking(profile: Any) -> str:
    """Why `run` would be refused here, whatever the recipe."""
    from .clusters.launch import check

    try:
        check(profile)
    except Refusal as refusal:
        return str(refusal)
    return ""


def _pruned(overrides: list[str] | None, n: int | None) -> list[str]:
    return [*(overrides or []), *([] if n is None else [f"ensemble.prune={n}"])]


def _repeated(option: str, values: list[str] | None) -> list[str]:
    return [word for value in values or [] for word in (option, value)]


@app.command()
def plan(
    recipe: RecipeFile,
    overrides: Overrides = None,
    prune: Prune = None,
    cluster: Cluster = "local",
    cluster_overrides: ClusterOverrides = None,
) -> None:
    """Show what `run` would do, and about what it would take; write nothing."""
    from .prepare import prepare

    loaded, profile, store = prepare(recipe, _pruned(overrides, prune), cluster, cluster_overrides or [])
    with held():
        from .plan import plan as make_plan
    from .summary import plan_lines

    with listening(_to_stderr) as signals:
        made = make_plan(loaded, store, profile, signals.reason)
    for line in plan_lines(made):
        typer.echo(line)
    if lacking := _lacking(profile):
        typer.echo(f"note         `run` would be refused on this machine:\n{lacking}")


@app.command()
def bench(
    recipe: Annotated[
        Path | None, typer.Argument(metavar="[RECIPE]", help="What to predict; without, a made-up ball of atoms is measured.")
    ] = None,
    overrides: Overrides = None,
    cluster: Cluster = "local",
    cluster_overrides: ClusterOverrides = None,
    as_json: AsJson = False,
) -> None:
    """Measure this machine; predict a recipe's time, size and bottleneck. Nothing stays on disk."""
    from .clusters.profile import load_profile
    from .prepare import prepare

    where = cluster, cluster_overrides or []
    chosen = None if recipe is None else prepare(recipe, overrides or [], *where)
    profile = load_profile(*where) if chosen is None else chosen[1]
    with held():
        from .bench import bench as measure
        from .bench import bench_specimen
    from .summary import print_bench

    with listening(_to_stderr) as signals:
        if chosen is None:
            found = bench_specimen(profile, overrides or [], signals.reason)
        else:
            found = measure(chosen[0], chosen[2], profile, signals.reason)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=1))
    else:
        print_bench(found)


@app.command()
def status(store: StoreFolder, as_json: AsJson = False) -> None:
    """Show how far a store is, from its own ledger."""
    from .status import status as look
    from .summary import status_lines

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
    from .summary import repair_lines, verify_lines

    if repair:
        from .clusters.profile import load_profile

        profile = load_profile(cluster, cluster_overrides or [])
        with held():
            from .repair import repair as heal
        made = heal(store, deep, profile, shlex.join(["cryovox", *sys.argv[1:]]), _to_stderr, take_over)
        lines, said, code = repair_lines(made), made.to_json(), made.exit
    else:
        with held():
            from .verify import verify as look
        with listening(_to_stderr) as signals, signals.asked_for() as stop:
            found = look(store, deep, stop)
        lines, said, code = verify_lines(found), found.to_json(), Exit.STOPPED if found.findings else Exit.DONE
    for line in [json.dumps(said, indent=1)] if as_json else lines:
        typer.echo(line)
    raise typer.Exit(code)


@app.command()
def export(
    store: StoreFolder,
    trajectory: Annotated[Path, typer.Option("--trajectory", metavar="FILE.dcd", help="Where to write the frames' atoms.")],
    frames: Annotated[str, typer.Option("--frames", metavar="A:B", help="Frames of the store, as Python slices count.")] = ":",
) -> None:
    """Write the atoms as they were placed and drawn: a DCD, a PDB beside it, and a table of the frames."""
    from .export import export_trajectory

    written = export_trajectory(store, trajectory, _slice(frames))
    for line in (f"trajectory   {written.trajectory}, {written.frames} frames", f"topology     {written.topology}"):
        typer.echo(line)
    typer.echo(f"table        {written.table}")


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


@app.command()
def schema() -> None:
    """Print the JSON Schema of a recipe, for editors."""
    from .documents.recipe import schema as recipe_schema

    typer.echo(json.dumps(recipe_schema(), indent=1))


@app.command()
def doctor() -> None:
    """Show what this machine has, what it lacks, and how to get it."""
    from .doctor import examine

    healthy = True
    for finding in examine():
        mark = {True: "ok", None: "--", False: "!!"}[finding.ok]
        typer.echo(f"{mark}  {finding.name:<12} {finding.text}")
        healthy = healthy and finding.ok is not False
    raise typer.Exit(Exit.DONE if healthy else Exit.PROGRAM_ERROR)


def _to_stderr(text: str) -> None:
    typer.echo(text, err=True)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(installed("cryovox"))
        raise typer.Exit


if __name__ == "__main__":
    sys.exit(main())
