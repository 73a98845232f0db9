"""A run in front of a person: bar, log and signals around it, and a last word for each way it can end."""

import os
import sys
import traceback
from pathlib import Path

from rich.console import Console

from ..tasks.errors import Refusal
from ..tasks.store.lock import RunLock
from ..workflows.averages.resume import State, there
from .clusters.profile import ClusterProfile
from .documents.recipe import LoadedRecipe
from .events.events import Events
from .events.exits import Exit, exit_of
from .events.progress import Bar, LogFile, ProgressFile
from .events.signals import listening
from .events.tally import Tally
from .prepare import Onto, begun
from .report import history
from .run import run
from .summary import outcome_lines


def in_the_foreground(
    loaded: LoadedRecipe, profile: ClusterProfile, store: Path, onto: Onto, folder: Path, lock: RunLock, command: str
) -> Exit:
    """Runs the recipe and says how it went; `command` is the line that resumes it. A `Refusal` is left to the caller."""
    console = Console(stderr=True)
    history.recover(folder)
    tally = Tally(store, loaded.name)
    events = Events([tally, LogFile(folder), ProgressFile(folder, tally), Bar(console)])
    with listening(_say_at_once) as signals:
        try:
            outcome = run(loaded, profile, store, onto, lock, tally, events, signals)
        except Refusal as refusal:
            events.say("refused", reason=str(refusal))
            raise
        except BaseException as error:  # every end is written down; a fault of the program then goes its way, with its traceback
            code = exit_of(error)
            if code is None:
                events.say("crashed", reason="".join(traceback.format_exception(error)))
                raise
            kept = "Nothing that was done is lost." if begun(store) else "No store was begun."
            end = "interrupted" if code is Exit.INTERRUPTED else "stopped"
            events.say(end, f"{error}\n{kept} {_NEXT[code]}\n  {command}", reason=str(error))
            return code
        finally:
            with signals.asked_for():  # a signal that comes late changes nothing about how the run ended
                try:
                    if begun(store) and tally.state["state"] != "refused":  # a refused run left all as it was
                        _write_down(store, folder, tally, command, events)
                finally:  # a second signal may end the report
                    events.close()
    for line in outcome_lines(outcome):
        console.print(line, highlight=False, markup=False, emoji=False, soft_wrap=True)
    return Exit.SKIPPED_FRAMES if len(outcome.skipped) else Exit.DONE


def _say_at_once(text: str) -> None:
    # of a signal's handler, which may strike in the midst of any listener: straight to the terminal; `run` tells the others
    os.write(sys.stderr.fileno(), f"{text}\n".encode())


def _write_down(store: Path, folder: Path, tally: Tally, command: str, events: Events) -> None:
    """The run joins the store's history, and its report is made anew. Where that fails the run ended as it did, all the same."""
    from .report.facts import write

    try:
        history.append(folder, tally.state)
        if (volumes := _reported(store)) is not None:
            write(volumes, folder, command)
    except Exception as error:  # no page is worth the end of a run
        events.say("warning", f"no report: {type(error).__name__}: {error}")


def _reported(store: Path) -> Path | None:
    """What the report is of: the store; of an average its mean, which is not there before the end."""
    at = there(store)
    if at.begun is not None or at.state is State.DAMAGED:
        return None
    return store / "mean" if at.state is State.WHOLE else store


_NEXT = {Exit.INTERRUPTED: "Resume with:", Exit.STOPPED: "Once that is mended, continue with:"}
