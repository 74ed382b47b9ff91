"""What two settings differ in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from marlin_sdk.dump.settings import differences

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


def test_differences_are_named_by_their_place() -> None:
    there = {"identity": {"dtype": "float32", "settings": {"stride": 16, "fps": None}}, "format": "npz"}
    here = {"identity": {"dtype": "float32", "settings": {"stride": 8, "fps": None, "pool": "time"}}, "format": "npy"}
    assert differences(there, here) == [
        "format: 'npz' there, 'npy'",
        "settings.pool: None there, 'time'",
        "settings.stride: 16 there, 8",
    ]


@given(PLAIN, PLAIN)
def test_there_are_none_exactly_if_both_are_equal(one: object, other: object) -> None:
    assert differences(one, one) == []
    if one != other and not (isinstance(one, dict) and isinstance(other, dict)):
        assert differences(one, other)
