"""What the device setting says."""

import pytest

from stillmotion.errors import ConfigurationError
from stillmotion.executor.devices import held_by, parse_devices

BUNDLES = {"ltx-2": 1, "ltx-2.3": 2}


def test_devices_and_the_models_that_each_may_hold():
    assert parse_devices("auto") == {"auto": None}
    assert parse_devices("cuda:0, cuda:1=ltx-2.3 + ltx-2") == {"cuda:0": None, "cuda:1": {"ltx-2.3", "ltx-2"}}
    assert held_by("cuda:0", None, BUNDLES) == ("ltx-2", "ltx-2.3")
    assert held_by("cuda:1", frozenset({"ltx-2.3"}), BUNDLES) == ("ltx-2.3",)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no device"),
        (" , ", "no device"),
        ("cuda:0,cuda:0", "twice"),
        ("cuda:0=", "DEVICE=MODEL"),
        ("=ltx-2", "DEVICE=MODEL"),
        ("all,cuda:0", "alone"),
    ],
)
def test_what_makes_no_sense_is_told(text, told):
    with pytest.raises(ConfigurationError, match=told):
        parse_devices(text)


def test_a_model_that_is_not_in_use_is_told():
    with pytest.raises(ConfigurationError, match=r"cuda:1 may hold ltx-3, .* ltx-2, ltx-2\.3"):
        held_by("cuda:1", frozenset({"ltx-3"}), BUNDLES)
