"""Messages arrive as they were sent, and nothing that is no message is taken for one."""

import io
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cryovox.tasks.ensemble import wire
from cryovox.tasks.ensemble.wire import Message, WireError, receive, send

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
