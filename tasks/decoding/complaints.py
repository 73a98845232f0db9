"""What a person reads of a parser's exception."""

from ..errors import Problem
from .frame_file import BadFrame


def unreadable(where: str, format: str, error: Exception) -> Problem:
    """A parser's complaint, as a person reads it."""
    return Problem(
        f"the file cannot be read as {format.upper()}",
        where,
        said(error),
        f"a complete {format.upper()} file",
        "check that the extension tells the truth and that the file was copied whole",
    )


def said(error: BaseException) -> str:
    """In one line."""
    text = " ".join(str(error).split())
    if isinstance(error, EOFError) and not text:
        return "the file ends too early"
    return text[:400] if isinstance(error, BadFrame) else f"{type(error).__name__}: {text[:400]}".rstrip(": ")
