"""The command line: what each command takes, and what it calls. Imports are made in the commands."""

from .entry import main

__all__ = ["main"]
