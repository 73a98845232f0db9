"""Commands that begin with files or a recipe: `init`, `inspect`, `run`, `submit`, `plan`, `bench`."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ...tasks.errors import Problem, Refusal
from ..events.signals import held, listening
from .options import AsJson, Cluster, ClusterOverrides, Ensemble, Overrides, Prune, RecipeFile, TakeOver, app, to_stderr


@app.command()
def init(
    files: Ensemble,
    to: Annotated[Path, typer.Option(metavar="RECIPE", help="Where the recipe goes; nothing is overwritten.")] = Path(
        "recipe.yaml"
    ),
) -> None:
    """Write a commented recipe for the ensemble in some files: the first step."""
    from ..init import init as begin
    from ..summary import begun_lines

    for line in begun_lines(begin(files, to)):
        typer.echo(line)


@app.command()
def inspect(
    files: Annotated[list[Path], typer.Argument(metavar="RECIPE|FILE...", help="A recipe, or the files of an ensemble.")],
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show what an ensemble is, what of it misleads, and the recipe's line that answers it; write nothing."""
    from ..inspect import inspect as look
    from ..summary import inspected_lines

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
    from ..prepare import Onto, owned, prepare

    if overwrite and extend:
        raise Refusal(Problem("a store is started over or extended", "--overwrite", "--extend too", "one of the two"))
    onto = Onto.ANY if overwrite else Onto.GROWING if extend else Onto.SAME
    loaded, profile, store = prepare(recipe, _pruned(overrides, prune), cluster, cluster_overrides or [], onto)
    with held():
        from ..foreground import in_the_foreground  # Dask and its kin: only for a recipe that is not refused

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
    from ..prepare import prepare

    overrides = _pruned(overrides, prune)
    # no --overwrite: a job that is requeued would start over each time
    _, profile, store = prepare(recipe, overrides, cluster, cluster_overrides or [])
    from ..clusters.submit import submit as hand_over

    words = [str(recipe), *_repeated("--set", overrides), "--cluster", cluster, *_repeated("--cluster-set", cluster_overrides)]
    for line in hand_over(profile, words, store, dry_run):
        typer.echo(line)


def _lacking(profile: Any) -> str:
    """Why `run` would be refused here, whatever the recipe."""
    from ..clusters.launch import check

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
    from ..prepare import prepare

    loaded, profile, store = prepare(recipe, _pruned(overrides, prune), cluster, cluster_overrides or [])
    with held():
        from ..plan import plan as make_plan
    from ..summary import plan_lines

    with listening(to_stderr) as signals:
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
    from ..clusters.profile import load_profile
    from ..prepare import prepare

    where = cluster, cluster_overrides or []
    chosen = None if recipe is None else prepare(recipe, overrides or [], *where)
    profile = load_profile(*where) if chosen is None else chosen[1]
    with held():
        from ..bench import bench as measure
        from ..bench import bench_specimen
    from ..summary import print_bench

    with listening(to_stderr) as signals:
        if chosen is None:
            found = bench_specimen(profile, overrides or [], signals.reason)
        else:
            found = measure(chosen[0], chosen[2], profile, signals.reason)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=1))
    else:
        print_bench(found)
