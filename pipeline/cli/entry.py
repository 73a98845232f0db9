"""The entry point. Imports are made in the commands: `--help` and a refused recipe need none of JAX, Dask or MDAnalysis."""

import os

import typer

from ..events.exits import Exit, Interrupted, exit_of
from . import making, reading, this_machine  # noqa: F401  (they register themselves)
from .options import app

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
