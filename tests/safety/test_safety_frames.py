"""The frames that are looked at, and that they look as they will in the file."""

import math
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stillmotion.media.yuv import planar
from stillmotion.safety.frames import Sampling, rgb, sampled


@settings(deadline=None)
@given(st.integers(3, 5000), st.floats(1, 60))
def test_frames_are_spread_over_the_whole_video(num_frames, fps):
    chosen = sampled(num_frames, fps)
    assert (chosen[0], chosen[-1]) == (0, num_frames - 1)
    assert 3 <= len(chosen) <= 16
    gaps = [after - before for before, after in pairwise(chosen)]
    assert max(gaps) - min(gaps) <= 1
    if num_frames / fps <= 15:
        assert max(gaps) <= math.ceil(fps)
    if len(chosen) == 3:
        assert abs(chosen[1] - (num_frames - 1) / 2) <= 0.5


def test_a_video_of_one_or_two_frames_is_seen_whole():
    assert sampled(1, 25) == (0,)
    assert sampled(2, 25) == (0, 1)


@settings(deadline=None)
@given(st.data(), st.integers(1, 200), st.floats(1, 60))
def test_however_the_frames_come_the_same_are_kept(data, num_frames, fps):
    video = np.zeros((num_frames, 3, 2), np.uint8) + np.arange(num_frames, dtype=np.uint8)[:, None, None]
    sampling = Sampling(num_frames, fps)
    seen = 0
    while seen < num_frames:
        assert not sampling.complete
        size = data.draw(st.integers(1, 70))
        sampling.see(video[seen : seen + size])
        seen += size
    video[:] = 0  # the writer may use the memory again
    assert sampling.complete
    expected = np.zeros((3, 2), np.uint8)
    for index, picture in zip(sampled(num_frames, fps), sampling.pictures(), strict=True):
        expected[:] = index
        assert np.array_equal(picture, rgb(expected))


def test_a_picture_comes_back_from_its_planes():
    """Away from edges, where colour is interpolated, both ways round to whole levels: 3 at most."""
    colours = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    picture = colours.repeat(16, axis=0).repeat(16, axis=1)
    back = rgb(planar(picture[None])[0])
    assert back.shape == picture.shape
    assert np.abs(back[8::16, 8::16].astype(int) - colours).max() <= 3
