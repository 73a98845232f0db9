"""How a command can end: the exit codes, the exceptions behind them, and the one table that joins the two."""

import errno
from enum import IntEnum

from ...tasks.errors import DecoderFault, DeviceLost, DeviceMemory, FrameFault, LockLost, Refusal, StoreDamage


class Exit(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    """All frames done."""
    PROGRAM_ERROR = 1
    """Anything else: a traceback, to be reported."""
    REFUSED = 2
    """Bad input or lock held: nothing was done."""
    SKIPPED_FRAMES = 3
    """Done, with skipped frames, each named."""
    STOPPED = 4
    """Stopped at a named frame or shard, or damage found."""
    INTERRUPTED = 75
    """Signal, full disk, lost cluster: run again to resume."""


NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What a disk says that takes no more."""


class Interrupted(BaseException):
    """The run was stopped from outside (signal, full disk, lost cluster): the same command resumes it.

    No `Exception`: a signal strikes anywhere, and whoever catches all that a library may raise must not catch it.
    """


class UnitFailed(Exception):
    """A unit of work cannot be done, and trying again will not help."""

    def __init__(self, unit: int, cause: BaseException):
        self.unit = unit
        super().__init__(unit, cause)

    def __str__(self) -> str:
        return str(self.args[1])


def exit_of(error: BaseException) -> Exit | None:
    """The exit code that an exception stands for; None where it is a fault of the program and wants its traceback."""
    if isinstance(error, Refusal):
        return Exit.REFUSED
    if isinstance(error, FrameFault | DecoderFault | DeviceLost | DeviceMemory | StoreDamage | UnitFailed):
        return Exit.STOPPED
    if isinstance(error, Interrupted | LockLost | KeyboardInterrupt) or (isinstance(error, OSError) and error.errno in NO_SPACE):
        return Exit.INTERRUPTED
    return None
