"""What the exit code says: the one list of them."""

from enum import IntEnum


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
