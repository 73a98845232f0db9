"""A run in front of a person: bar, log and signals around it, and a last word for each way it can end."""

from pathlib import Path

from rich.console import Console

from ..tasks.errors import StoreDamage
from ..tasks.store.lock import RunLock
from .cluster import ClusterProfile
from .events import Events
from .exits import Exit
from .progress import Bar, LogFile, ProgressFile
from .recipe import LoadedRecipe
from .run import run
from .runner import Interrupted, UnitFailed
from .signals import listening
from .summary import outcome_lines


def in_the_foreground(
    loaded: LoadedRecipe, profile: ClusterProfile, store: Path, overwrite: bool, folder: Path, lock: RunLock, command: str
) -> Exit:
    """Runs the recipe and says how it went; `command` is the line that resumes it. A `Refusal` is left to the caller."""
    console = Console(stderr=True)
    events = Events([LogFile(folder), ProgressFile(folder), Bar(console)])
    try:
        with listening() as stop:
            try:
                outcome = run(loaded, profile, store, overwrite, lock, events, stop)
            except KeyboardInterrupt as second:
                raise Interrupted("stopped at once") from second
    except Interrupted as why:
        events.say("stopping", f"{why}; nothing that was done is lost. Resume with:\n  {command}", reason=str(why))
        return Exit.INTERRUPTED
    except (UnitFailed, StoreDamage) as failure:
        events.say(
            "stopping", f"{failure}\nAll other finished frames are kept. Then continue with:\n  {command}", reason=str(failure)
        )
        return Exit.STOPPED
    finally:
        events.close()
    for line in outcome_lines(outcome):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return Exit.DONE
