"""What several commands take: the application they belong to, and their common arguments."""

from pathlib import Path
from typing import Annotated

import typer

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


def to_stderr(text: str) -> None:
    """For a person, beside what a program may read."""
    typer.echo(text, err=True)
