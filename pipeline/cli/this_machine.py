"""Commands about this program and this machine: `schema`, `doctor`, `--version`."""

import json
from typing import Annotated

import typer

from ..events.exits import Exit
from .options import app


@app.command()
def schema() -> None:
    """Print the JSON Schema of a recipe, for editors."""
    from ..documents.recipe import schema as recipe_schema

    typer.echo(json.dumps(recipe_schema(), indent=1))


@app.command()
def doctor() -> None:
    """Show what this machine has, what it lacks, and how to get it."""
    from ..doctor import examine

    healthy = True
    for finding in examine():
        mark = {True: "ok", None: "--", False: "!!"}[finding.ok]
        typer.echo(f"{mark}  {finding.name:<12} {finding.text}")
        healthy = healthy and finding.ok is not False
    raise typer.Exit(Exit.DONE if healthy else Exit.PROGRAM_ERROR)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(installed("cryovox"))
        raise typer.Exit
