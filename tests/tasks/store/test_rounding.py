"""Rounded voxels are the nearest of those with so few bits: against exact fractions, and bit by bit."""

from fractions import Fraction

import numcodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryovox.tasks.store.rounding import bit_rounded, kept

LARGEST = float(np.finfo(np.float32).max)
TINY = float(np.finfo(np.float32).smallest_normal)
floats = st.floats(-LARGEST / 2, LARGEST / 2, width=32)
bits = st.integers(1, 22)


def rounded(value: float, keepbits: int) -> float:
    return float(bit_rounded(np.full((1, 1, 1, 1), value, np.float32), keepbits)[0, 0, 0, 0])


def nearest(value: float, keepbits: int) -> Fraction:
    """The multiple of one unit in the last kept place nearest to a float32, by exact arithmetic; a tie goes to the even one."""
    if value == 0:
        return Fraction(0)
    exponent = max(np.frexp(value)[1] - 1, -126)  # below it float32's numbers are evenly spaced
    unit = Fraction(2) ** int(exponent - keepbits)
    return round(Fraction(value) / unit) * unit  # Python rounds fractions to even


@given(floats, bits)
def test_it_is_the_nearest_with_ties_to_even(value: float, keepbits: int):
    assert Fraction(rounded(value, keepbits)) == nearest(value, keepbits)


@given(st.integers(0, 2**23 - 1), st.integers(-126, 126), st.integers(1, 22))
def test_ties_go_to_the_even_neighbour(mantissa: int, exponent: int, keepbits: int):
    """Every bit below the last kept one is 0 but the first: exactly half."""
    dropped = 23 - keepbits
    half = (mantissa >> dropped << dropped) | 1 << (dropped - 1)
    value = float(np.ldexp(1 + half / 2**23, exponent))
    assert Fraction(rounded(value, keepbits)) == nearest(value, keepbits)
    assert int(np.float32(rounded(value, keepbits)).view(np.uint32)) >> dropped & 1 == 0


@given(floats.filter(lambda x: abs(x) >= TINY), bits)
def test_the_relative_error_is_what_the_store_says(value: float, keepbits: int):
    assert abs(rounded(value, keepbits) - value) <= 2.0 ** -(keepbits + 1) * abs(value)


@given(floats, bits)
def test_it_is_done_once(value: float, keepbits: int):
    assert rounded(rounded(value, keepbits), keepbits) == rounded(value, keepbits)


@given(floats, bits)
def test_no_more_bits_are_left_than_asked_for(value: float, keepbits: int):
    assert int(np.float32(rounded(value, keepbits)).view(np.uint32)) % (1 << (23 - keepbits)) == 0


@given(floats, bits)
def test_signs_and_order_stay(value: float, keepbits: int):
    assert np.signbit(np.float32(rounded(value, keepbits))) == np.signbit(np.float32(value))
    assert rounded(-value, keepbits) == -rounded(value, keepbits)
    assert (rounded(value, keepbits) == 0) >= (value == 0)


def test_numcodecs_rounds_to_the_same_bits():
    values = np.random.default_rng(0).normal(size=(3, 8, 8, 8)).astype(np.float32)
    for keepbits in range(1, 23):
        codec = numcodecs.BitRound(keepbits=keepbits)
        other = codec.decode(codec.encode(values.copy())).view(np.float32).reshape(values.shape)
        np.testing.assert_array_equal(bit_rounded(values, keepbits), other)


def test_nothing_to_do_is_the_same_array():
    values = np.ones((2, 4, 4, 4), np.float32)
    assert kept(values, "float32", None) is values


def test_the_array_that_was_drawn_is_left_alone():
    values = np.random.default_rng(0).normal(size=(2, 4, 4, 4)).astype(np.float32)
    before = values.copy()
    assert (kept(values, "float32", 5) != before).any()
    np.testing.assert_array_equal(values, before)


@given(st.floats(2.0**-14, 2.0**15, width=32), st.integers(1, 10))
def test_in_float16_nothing_is_rounded_twice(value: float, keepbits: int):
    """In its normal range; 10 bits are what float16 itself keeps."""
    stored = kept(np.full((1, 1, 1, 1), value, np.float32), "float16", keepbits)
    assert Fraction(float(stored[0, 0, 0, 0])) == nearest(value, keepbits)
    if keepbits == 10:
        assert stored[0, 0, 0, 0] == np.float16(np.float32(value))


@pytest.mark.parametrize("keepbits", [0, 23, 24, -1])
def test_bits_that_round_nothing_or_that_float32_has_not_are_an_error(keepbits: int):
    """All 23 are `None`: a store would say that it was rounded, and be compressed as if it were."""
    with pytest.raises(ValueError, match="keepbits"):
        bit_rounded(np.ones((1, 1, 1, 1), np.float32), keepbits)


def test_what_overflows_becomes_infinite_and_no_nan():
    values = np.full((1, 1, 1, 1), LARGEST, np.float32)
    assert np.isinf(bit_rounded(values, 5)).all()
    assert np.isinf(kept(values, "float16", None)).all()
