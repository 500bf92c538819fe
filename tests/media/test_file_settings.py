"""The settings that made a video travel in its file, and come back to the character."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from video_files import CONTAINERS, encoding, video_frames, write

from stillmotion.media.gif_comment import append_comment, read_comment
from stillmotion.media.probe import probe_media, read_settings

in_every_container = pytest.mark.parametrize("container", CONTAINERS)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@in_every_container
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=JSON, plain=st.booleans(), indent=st.sampled_from([None, 2]))
def test_any_json_comes_back(
    tmp_path: Path, pan: np.ndarray, container: str, value: object, plain: bool, indent: int | None
) -> None:
    text = json.dumps(value, ensure_ascii=plain, indent=indent)
    write(tmp_path / "v", pan[:1], encoding(container, settings=text))
    assert read_settings(tmp_path / "v") == text


@in_every_container
@pytest.mark.parametrize("size", [254, 255, 256, 16_384, 100_000])
def test_long_settings_come_back(tmp_path: Path, pan: np.ndarray, container: str, size: int) -> None:
    """Two prompts of 5,000 characters are up to 60 kB as escaped JSON."""
    text = json.dumps({"prompt": '"𝕏 \\ é😀' * size}, ensure_ascii=False)
    text = json.dumps({"prompt": text.encode()[: size - 60].decode(errors="ignore")}, ensure_ascii=False)
    write(tmp_path / "v", pan[:9], encoding(container, settings=text))
    assert read_settings(tmp_path / "v") == text
    assert probe_media(tmp_path / "v").num_frames == sum(1 for _ in video_frames(tmp_path / "v")) == 9


@in_every_container
def test_without_settings_there_are_none(tmp_path: Path, pan: np.ndarray, container: str) -> None:
    write(tmp_path / "v", pan[:1], encoding(container))
    assert read_settings(tmp_path / "v") is None


@in_every_container
def test_another_programs_comment_is_no_settings(tmp_path: Path, pan: np.ndarray, container: str) -> None:
    write(tmp_path / "v", pan[:1], encoding(container, settings="made by hand"))
    assert read_settings(tmp_path / "v") is None


def test_what_is_no_media_file_has_no_settings(tmp_path: Path) -> None:
    (tmp_path / "v").write_bytes(b"nothing at all")
    with pytest.raises(ValueError, match="Invalid data"):
        read_settings(tmp_path / "v")


def test_the_comment_of_a_gif_that_is_cut_short(tmp_path: Path, pan: np.ndarray) -> None:
    path = tmp_path / "v"
    write(path, pan[:2], encoding("gif"))
    append_comment(path, "{}")
    whole = path.read_bytes()
    assert read_comment(path) == "{}"
    for length in range(0, len(whole) - 6, 7):
        path.write_bytes(whole[:length])
        assert read_comment(path) is None
    with pytest.raises(ValueError, match="end mark"):
        append_comment(path, "{}")
