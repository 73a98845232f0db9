"""Messages arrive as they were sent, and nothing that is no message is taken for one."""

import io
import json
import os
import pickle
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cryovox.tasks.decoding import wire
from cryovox.tasks.decoding.wire import Message, Room, WireError, receive, send

words = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
payload = st.sampled_from(["int64", "float32", "float64"]).flatmap(
    lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)


def pipe(data: bytes):
    stream = io.BytesIO(data)

    def fill(view: memoryview) -> None:
        if stream.readinto(view) < len(view):
            raise EOFError

    return fill


def sent(message: Message) -> bytes:
    chunks: list[bytes] = []
    send(message, lambda view: chunks.append(bytes(view)))
    return b"".join(chunks)


@settings(max_examples=40)
@given(st.dictionaries(st.text(), words, max_size=3), st.dictionaries(st.text(), payload, max_size=3))
def test_a_message_arrives_as_it_was_sent(head, parts):
    answer = receive(pipe(sent(Message(head, parts))))
    assert answer.head == head
    assert answer.arrays.keys() == parts.keys()
    for name, array in parts.items():
        assert answer.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(answer.arrays[name], array)


@settings(max_examples=40)
@given(st.binary(max_size=200))
def test_random_bytes_are_never_a_message(data):
    with pytest.raises((WireError, EOFError)):
        receive(pipe(data))


@pytest.mark.parametrize(
    "text",
    [
        {"head": {}, "arrays": [["a", "object", [1]]]},
        {"head": {}, "arrays": [["a", "float64", [-1]]]},
        {"head": {}, "arrays": [["a", "float64", [1 << 20, 1 << 20]]]},
        {"head": {}, "arrays": [["a", "float64", [0.5]]]},
        {"head": {}, "arrays": [["a", "float64", [True]]]},
        {"head": {}, "arrays": [["a", "float64", [0] * 40]]},
        {"head": {}, "arrays": [[7, "float64", [0]]]},
        {"head": {}, "arrays": [["a", "float64", [0]], ["a", "float64", [0]]]},
        {"head": {}, "arrays": [["a", ["float64"], [0]]]},
        {"head": [], "arrays": []},
        {"arrays": []},
        [],
    ],
)
def test_impossible_heads_are_refused_before_memory_is_taken(text):
    head = json.dumps(text).encode()
    with pytest.raises(WireError):
        receive(pipe(len(head).to_bytes(4, "big") + head))


def test_a_head_larger_than_the_bound_is_refused_unread():
    with pytest.raises(WireError, match="head would take"):
        receive(pipe((wire.LARGEST_HEAD + 1).to_bytes(4, "big")))


@pytest.mark.parametrize("array", [np.array([object()]), np.array(["a"]), np.zeros(2, ">f4"), np.zeros(2, bool)])
def test_only_plain_numbers_travel(array):
    with pytest.raises(WireError, match="only int64, float32, float64 travel"):
        sent(Message({}, {"a": array}))


def test_no_pickle_is_ever_read():
    with pytest.raises((WireError, EOFError)):
        receive(pipe(pickle.dumps({"head": {}, "arrays": []})))


@pytest.fixture
def rooms():
    """The same memory as two processes have it."""
    if sys.platform != "linux":
        pytest.skip("memory without a name is Linux's; elsewhere arrays follow their heads")
    one = Room.made()
    assert one is not None
    other = Room(os.dup(one.descriptor))
    yield one, other
    one.close()
    other.close()


@settings(max_examples=40)
@given(data=st.data())
def test_arrays_that_lie_in_shared_memory_arrive_as_they_were_sent(data):
    if sys.platform != "linux":
        pytest.skip("memory without a name is Linux's; elsewhere arrays follow their heads")
    one = Room.made()
    assert one is not None
    other = Room(os.dup(one.descriptor))
    for parts in data.draw(st.lists(st.dictionaries(st.text(), payload, max_size=3), max_size=3)):
        chunks: list[bytes] = []
        send(Message({"n": 1}, parts), lambda view, chunks=chunks: chunks.append(bytes(view)), one)
        answer = receive(pipe(b"".join(chunks)), other)
        assert list(answer.arrays) == list(parts)
        for name, array in parts.items():
            assert (answer.arrays[name].dtype, answer.arrays[name].shape) == (array.dtype, array.shape)
            np.testing.assert_array_equal(answer.arrays[name], array)
    one.close()
    other.close()


def test_an_array_is_a_copy_that_the_other_side_cannot_change(rooms):
    one, other = rooms
    chunks: list[bytes] = []
    send(Message({}, {"a": np.arange(1000)}), lambda view: chunks.append(bytes(view)), one)
    answer = receive(pipe(b"".join(chunks)), other)
    send(Message({}, {"a": np.zeros(1 << 19)}), lambda view: None, one)  # larger than what was mapped at first
    np.testing.assert_array_equal(answer.arrays["a"], np.arange(1000))


def test_neither_side_can_take_the_memory_away_from_the_other(rooms):
    one, _ = rooms
    for size in (0, 2 * wire.LARGEST_BODY):
        with pytest.raises(PermissionError):
            os.truncate(one.descriptor, size)


def test_memory_is_taken_as_it_is_needed_and_has_no_name(rooms):
    one, other = rooms
    send(Message({}, {"a": np.ones(1 << 17)}), lambda view: None, one)
    assert os.fstat(other.descriptor).st_blocks * 512 < 4 << 20
    assert os.fstat(other.descriptor).st_nlink == 0
