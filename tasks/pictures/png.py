"""An image as a PNG in memory, by the standard library alone: small pictures in a page need no plotting library.

Format: W3C, Portable Network Graphics (2003): signature, IHDR, PLTE, IDAT (zlib, every row behind a filter byte), IEND.
"""

import struct
import zlib

import numpy as np
from jaxtyping import Float, UInt8

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_INDEXED = 3
"""PNG's colour type: a byte a pixel, its colour in the palette."""

INK, PAPER = (27, 31, 36), (255, 255, 255)
BLUE, PALE_BLUE, WHITE, PALE_RED, RED = (33, 102, 172), (146, 197, 222), (247, 247, 247), (244, 165, 130), (178, 24, 43)


def _palette(*stops: tuple[int, int, int]) -> UInt8[np.ndarray, "256 3"]:
    at = np.linspace(0, len(stops) - 1, 256)
    channels = [np.interp(at, np.arange(len(stops)), channel) for channel in zip(*stops, strict=True)]
    return np.stack(channels, axis=1).round().astype(np.uint8)


GREY = _palette(PAPER, INK)
"""Paper at the bottom of the scale, ink at its top."""
SIGNED = _palette(BLUE, PALE_BLUE, WHITE, PALE_RED, RED)
"""Blue, white, red: for a scale whose middle is 0."""


def png(image: Float[np.ndarray, "y x"], low: float, high: float, palette: UInt8[np.ndarray, "256 3"] = GREY) -> bytes:
    """A picture of `image` with y upwards: `low` has the palette's first colour, `high` its last, what lies beyond is clipped.

    Values that are not finite are drawn as `low`. Where `low` is not below `high`, all is drawn as `low`.
    """
    height, width = image.shape
    span = high - low if high > low else np.inf
    shares = np.nan_to_num((image[::-1] - low) / span, nan=0.0, posinf=0.0, neginf=0.0)
    pixels = np.zeros((height, width + 1), np.uint8)  # in front of every row: filter 0, none
    pixels[:, 1:] = np.clip(np.rint(255 * shares), 0, 255)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, _INDEXED, 0, 0, 0)),
        (b"PLTE", palette.tobytes()),
        (b"IDAT", zlib.compress(pixels.tobytes(), 9)),
        (b"IEND", b""),
    )
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
