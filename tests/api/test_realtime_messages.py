"""What a realtime connection reads from a frame, for frames of every kind."""

import json

import msgpack
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stillmotion.api.realtime_messages import Input, read_input
from stillmotion.errors import MalformedBody

PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
PLAIN |= st.text().filter(lambda text: "\0" not in text)
NAMES = st.text(max_size=9).filter(lambda name: "\0" not in name and name != "request_id")
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4))


@given(st.dictionaries(NAMES, VALUES, max_size=6), st.none() | st.text(max_size=128).filter(lambda id: "\0" not in id))
def test_both_forms_say_the_same(arguments, id):
    message = arguments if id is None else {**arguments, "request_id": id}
    expected = Input(arguments, id)
    assert read_input(msgpack.packb(message)) == expected
    assert read_input(json.dumps(message)) == expected


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=200) | st.text(max_size=200))
def test_no_frame_breaks_the_reader(frame):
    try:
        read = read_input(frame)
    except MalformedBody:
        return
    assert isinstance(read.arguments, dict)
