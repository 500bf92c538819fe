"""Decoding in tiles, and fitting what was computed to what was promised."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stillmotion.engine.components import Components
from stillmotion.engine.conditioning import channelwise
from stillmotion.engine.decode import decode_audio, decode_video, temporal_tiles
from stillmotion.engine.delivery import positions, retime, to_canvas


def latents(frames: int) -> Tensor:
    return torch.randn(1, 8, frames, 2, 2, generator=torch.Generator().manual_seed(frames))


def test_one_tile_is_the_vaes_own_decoding(components: Components) -> None:
    vae, normalised = components.vae, latents(4)
    whole = normalised * channelwise(vae.latents_std, normalised) + channelwise(vae.latents_mean, normalised)
    expected = vae.decode(whole, return_dict=False)[0][0].transpose(0, 1) / 2 + 0.5
    chunks = list(decode_video(vae, normalised))
    assert [len(chunk) for chunk in chunks] == [8, 8, 8, 1]
    assert torch.equal(torch.cat(chunks), expected)


def test_tiles_agree_with_the_whole_away_from_the_seam(components: Components) -> None:
    """The decoder looks about four latent frames around, so beyond them a tile must not show at all."""
    whole = torch.cat(list(decode_video(components.vae, latents(16))))
    tiled = torch.cat(list(decode_video(components.vae, latents(16), tile=12, overlap=8)))
    assert tiled.shape == whole.shape == (121, 3, 64, 64)
    difference = (tiled - whole).abs()
    assert float(difference[:16].max()) < 1e-3
    assert float(difference[100:].max()) < 1e-3
    # Within the cross-fade: far below the 0.25 that unrelated frames of this decoder differ by.
    assert 0 < float(difference[32:96].mean()) < 0.05


def test_the_first_tile_comes_before_the_second_is_decoded(components: Components) -> None:
    decoded: list[int] = []
    hook = components.vae.decoder.register_forward_hook(lambda module, inputs, output: decoded.append(output.shape[2]))
    try:
        chunks = decode_video(components.vae, latents(10), tile=6, overlap=2)
        next(chunks)
        assert decoded == [41]
        assert sum(len(chunk) for chunk in chunks) == 73 - 8
        assert decoded == [41, 41]
    finally:
        hook.remove()


@given(frames=st.integers(1, 100), tile=st.integers(2, 20), overlap=st.integers(1, 19))
def test_tiles_cover_every_frame_and_overlap_their_neighbours(frames: int, tile: int, overlap: int) -> None:
    if overlap >= tile:
        with pytest.raises(ValueError, match="does not fit"):
            temporal_tiles(frames, tile, overlap)
        return
    tiles = temporal_tiles(frames, tile, overlap)
    assert tiles[0][0] == 0
    assert tiles[-1][1] == frames
    assert all(stop - start <= tile for start, stop in tiles)
    for (_, stop), (start, end) in pairwise(tiles):
        assert stop - start == overlap
        assert end > stop
    assert frames > tile or len(tiles) == 1


@settings(max_examples=8, deadline=None)
@given(frames=st.integers(1, 12), seconds=st.floats(0.02, 0.6))
def test_sound_has_exactly_the_videos_length(components_of_both: list[Components], frames: int, seconds: float) -> None:
    for components in components_of_both:
        tokens = torch.randn(1, frames, 32, generator=torch.Generator().manual_seed(frames))
        wave = decode_audio(components.audio_vae, components.vocoder, tokens, seconds=seconds)
        assert wave.shape == (2, round(seconds * components.vocoder.config.output_sampling_rate))
        assert wave.dtype == np.float32
        assert np.isfinite(wave).all()


def test_sound_is_neither_silent_nor_clipped(components: Components) -> None:
    tokens = torch.randn(1, 25, 32, generator=torch.Generator().manual_seed(0))
    wave = decode_audio(components.audio_vae, components.vocoder, tokens, seconds=0.9)
    assert wave.std() > 0.01
    assert (np.abs(wave) >= 1).mean() < 0.01


def chunked(frames: Tensor, sizes: list[int]) -> Iterator[Tensor]:
    while len(frames):
        size = sizes.pop() if sizes else len(frames)
        yield frames[:size]
        frames = frames[size:]


@given(
    computed=st.integers(1, 40),
    delivered=st.integers(1, 80),
    computed_fps=st.floats(1, 60),
    fps=st.floats(1, 60),
    sizes=st.lists(st.integers(1, 9), max_size=10),
)
def test_retimed_frames_lie_where_time_puts_them(
    computed: int, delivered: int, computed_fps: float, fps: float, sizes: list[int]
) -> None:
    # Frame i shows the value i, so a frame's value is its position.
    frames = torch.arange(computed, dtype=torch.float64)[:, None]
    wanted = positions(delivered, fps, computed, computed_fps)
    got = torch.cat(list(retime(chunked(frames, sizes), wanted)))[:, 0]
    expected = [min(index * computed_fps / fps, computed - 1) for index in range(delivered)]
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64), atol=1e-9, rtol=0)


def test_equal_rates_trim_exactly_and_ask_for_no_more() -> None:
    frames = torch.rand(25, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    source = chunked(frames, [8] * 4)
    got = torch.cat(list(retime(source, positions(10, 24.0, 25, 24.0))))
    assert torch.equal(got, frames[:10])
    assert len(next(source)) == 8  # the third chunk is still there


@settings(deadline=None)
@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    height=st.integers(1, 40).map(lambda n: 2 * n),
    width=st.integers(1, 40).map(lambda n: 2 * n),
)
def test_any_canvas_is_filled_exactly(rows: int, columns: int, width: int, height: int) -> None:
    assert to_canvas(torch.zeros(2, 3, rows, columns), width, height).shape == (2, 3, height, width)


def test_a_covering_frame_is_cut_in_the_centre() -> None:
    frames = torch.arange(8 * 10, dtype=torch.float32).view(1, 1, 8, 10).expand(1, 3, 8, 10)
    assert torch.equal(to_canvas(frames, 6, 4), frames[..., 2:6, 2:8])


def test_a_smaller_frame_is_scaled_up_without_distortion() -> None:
    ramp = torch.linspace(0, 1, 32)[None, None, None].expand(1, 3, 16, 32)
    big = to_canvas(ramp, 64, 32)
    torch.testing.assert_close(big[0, 0, 16, 8:56], torch.linspace(0, 1, 64)[8:56], atol=0.02, rtol=0)
    cut = to_canvas(ramp, 32, 32)  # scaled twofold, then a quarter off each side
    torch.testing.assert_close(cut, big[..., 16:48])
