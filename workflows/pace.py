"""How many units one task takes: as many as fill a second, so that what the scheduler does for each task hardly counts."""

from collections.abc import Callable

TASK = 1.0
"""Seconds that a task should take: what a stop waits for, and two hundred times what a task costs driver and scheduler."""
MOST = 64
"""Units of a task, however quick they are: what a lost worker sets back."""


def fitting(seconds: float) -> int:
    """Units of a task where each takes a worker so long."""
    return max(1, min(MOST, int(TASK / max(seconds, TASK / MOST))))


class Pace:
    """Learns from the tasks that came back. Which units share a task changes no byte of what they make.

    `window`: tasks with the cluster at once, by now. Towards the end tasks become smaller, so that all workers end together.
    """

    def __init__(self, window: Callable[[], int]):
        self._window = window
        self._each: float | None = None

    def saw(self, units: int, seconds: float) -> None:
        """A task of so many units took a worker so long. The first ones open files and compile: they are soon outweighed."""
        if units:
            each = seconds / units
            self._each = each if self._each is None else (self._each + each) / 2

    def units(self, left: int) -> int:
        """Of the next task, at least one; `left` are those that no task has yet."""
        if self._each is None:
            return 1
        return max(1, min(fitting(self._each), left // (2 * self._window())))
