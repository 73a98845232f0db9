"""A table is the same to a STAR reader, whatever its cells hold."""

import math

import gemmi
import pytest

from cryovox.tasks.store.star import star_text

TEXTS = [
    "plain",
    "two words",
    "",
    "?",
    ".",
    "'",
    '"quoted"',
    "it's",
    "_tag",
    "loop_",
    "data_x",
    "#no",
    "$x",
    "; y",
    "Å²",
    "a\tb",
    "volumes/a_1.mrc",
    "Data_",
    "1",
]


def read(text: str) -> gemmi.cif.Block:
    return gemmi.cif.read_string(text).sole_block()


def test_texts_and_numbers_come_back_to_the_last_bit():
    numbers = [1 / 3, -0.0, 1e-300, math.inf, -math.inf, *map(float, range(len(TEXTS) - 5))]
    block = read(star_text("frames", {"text": TEXTS, "number": numbers, "whole": list(range(len(TEXTS)))}))
    assert block.name == "frames"
    assert [gemmi.cif.as_string(cell) for cell in block.find_values("_text")] == TEXTS
    assert [float(cell) for cell in block.find_values("_number")] == numbers
    assert [int(cell) for cell in block.find_values("_whole")] == list(range(len(TEXTS)))


def test_a_path_stands_without_quotes():
    assert "\nvolumes/frame_000050.mrc 50\n" in star_text("frames", {"volume": ["volumes/frame_000050.mrc"], "frame": [50]})


def test_what_is_no_table_is_an_error():
    with pytest.raises(ValueError, match="one length"):
        star_text("a", {"x": [1], "y": []})
    with pytest.raises(ValueError, match="one length"):
        star_text("a", {})
    with pytest.raises(ValueError, match="more than case"):
        star_text("a", {"x": [1], "X": [2]})
