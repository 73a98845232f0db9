"""The text of a structure file, plain or gzipped, of bounded size; what is no such text is told before a parser sees it."""

import gzip
import io
import re
import zlib
from io import BufferedIOBase
from pathlib import Path

from .frame_file import BadFrame
from .recent import Recent

LARGEST = 1 << 30
"""Bytes of a structure's text: a capsid's mmCIF has 0.2 GB, a gzip bomb no end."""

_unzipped: Recent[bytes] = Recent()


def is_zipped(path: str | Path) -> bool:
    """By its name."""
    return str(path).lower().endswith(".gz")


def open_text(path: str | Path) -> BufferedIOBase:
    """The file's bytes, unzipped in memory where it is gzipped. Raises `BadFrame` for a gzip file that is broken or too large."""
    if not is_zipped(path):
        return Path(path).open("rb")
    return io.BytesIO(_unzipped.of(path, lambda: _unzip(path), len))


def whole_text(path: str | Path) -> str:
    """All of a text of at most `LARGEST` bytes. Raises `BadFrame` for one that is larger, or for no text at all."""
    with open_text(path) as file:
        refuse_other(file)
        raw = file.read(LARGEST + 1)
    if len(raw) > LARGEST:
        raise BadFrame(_too_large(LARGEST))
    return raw.decode("utf-8", errors="replace")  # remarks may hold anything; what counts is ASCII


def refuse_other(file: BufferedIOBase) -> None:
    """Raises `BadFrame` where the file is a web page or holds only zeros; goes back to its start."""
    head = file.read(4096)
    file.seek(0)
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|\?xml|!--)", head, re.IGNORECASE):
        raise BadFrame("this is a web page (HTML or XML) under another name")
    if head and not head.strip(b"\0"):
        raise BadFrame("it holds zeros, as a file does whose copying broke off")


def _unzip(path: str | Path) -> bytes:
    limit = LARGEST
    try:
        with gzip.open(path) as file:
            raw = file.read(limit + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BadFrame(f"the gzip file is broken: {error}") from error
    if len(raw) > limit:
        raise BadFrame(_too_large(limit))
    return raw


def _too_large(limit: int) -> str:
    return f"the structure is too large: more than {limit} bytes of text"
