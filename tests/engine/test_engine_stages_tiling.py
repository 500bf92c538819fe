"""Tiles: how a canvas is cut, how tiles are blended, and denoising and decoding in them."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import embed
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from stillmotion.engine import conditioning
from stillmotion.engine.components import Components
from stillmotion.engine.conditioning import channelwise, pack, unpack
from stillmotion.engine.decode import decode_video
from stillmotion.engine.denoise import Denoiser
from stillmotion.engine.grid import Grid
from stillmotion.engine.noise import gaussian
from stillmotion.engine.sampler import State
from stillmotion.engine.tiled_denoise import TiledDenoiser, cut
from stillmotion.engine.tiling import DECODED_CELLS, Blend, Span, Tile, plan_tiles, spans
from stillmotion.job import Guidance

CPU = torch.device("cpu")
GRID = Grid(frames=2, rows=6, columns=7, audio_frames=9, fps=24.0)


@given(length=st.integers(1, 80), overlap=st.integers(0, 12), data=st.data())
def test_spans_cover_a_length_evenly_and_overlap_as_promised(length: int, overlap: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, max(1, length - overlap)))
    cut = spans(length, count, overlap)
    assert len(cut) == count
    assert (cut[0].start, cut[-1].stop) == (0, length)
    assert len({len(span) for span in cut}) == 1
    for before, after in pairwise(cut):
        assert before.stop - after.start >= overlap
        assert after.start > before.start
    # No longer than it must be: the cut lengths, shared parts counted once, are the length rounded up.
    assert count * (len(cut[0]) - overlap) + overlap < length + count


@settings(max_examples=200, deadline=None)
@given(rows=st.integers(1, 40), columns=st.integers(1, 40), largest=st.integers(1, 900), overlap=st.integers(0, 5))
def test_tiles_cover_the_canvas_within_the_limit(rows: int, columns: int, largest: int, overlap: int) -> None:
    smallest = min(rows, overlap + 1) * min(columns, overlap + 1)
    if smallest > largest:
        with pytest.raises(ValueError, match=f"no tiles of at most {largest} cells share {overlap} rows"):
            plan_tiles(rows, columns, largest=largest, overlap=overlap)
        return
    tiles = plan_tiles(rows, columns, largest=largest, overlap=overlap)
    covered = torch.zeros(rows, columns)
    for tile in tiles:
        tile.of(covered).add_(1)
        assert len(tile.rows) * len(tile.columns) <= largest
    assert covered.min() == 1
    assert (len(tiles) == 1) == (rows * columns <= largest)
    down, across = sorted({tile.rows for tile in tiles}), sorted({tile.columns for tile in tiles})
    assert [Tile(row, column) for row in down for column in across] == tiles
    for before, after in [*pairwise(down), *pairwise(across)]:
        assert before.stop - after.start >= overlap


def test_the_tiles_of_real_sizes() -> None:
    """1920x1088 is whole, either way up; beyond, a little more than the canvas itself is computed."""
    for rows, columns, count in ((34, 60, 1), (60, 34, 1), (46, 80, 2), (68, 120, 6), (120, 68, 6)):
        tiles = plan_tiles(rows, columns, largest=DECODED_CELLS)
        assert len(tiles) == count
        assert sum(len(tile.rows) * len(tile.columns) for tile in tiles) < 1.15 * rows * columns


CANVASES = st.builds(
    lambda rows, columns, overlap, share: (
        rows,
        columns,
        overlap,
        max(share * rows * columns // 8, (overlap + 1) ** 2),
    ),
    st.integers(1, 24),
    st.integers(1, 24),
    st.integers(0, 4),
    st.integers(1, 8),
)


@settings(max_examples=200, deadline=None)
@given(canvas=CANVASES, scale=st.integers(1, 3), seed=st.integers(0, 99))
def test_tiles_of_one_picture_blend_to_that_picture(canvas: tuple[int, int, int, int], scale: int, seed: int) -> None:
    """So the weights sum to 1 everywhere."""
    rows, columns, overlap, largest = canvas
    tiles = plan_tiles(rows, columns, largest=largest, overlap=overlap)
    picture = gaussian(seed, "picture", (2, rows * scale, columns * scale), CPU)
    blend = Blend(tiles, scale)
    for tile in tiles:
        blend.add(tile, tile.of(picture, scale))
    torch.testing.assert_close(blend.result, picture, atol=1e-6, rtol=0)
    if len(tiles) == 1:
        assert torch.equal(blend.result, picture)


@settings(max_examples=100, deadline=None)
@given(canvas=CANVASES, order=st.randoms(use_true_random=False), seed=st.integers(0, 99))
def test_every_pixel_is_a_mean_of_its_tiles(canvas: tuple[int, int, int, int], order: st.DataObject, seed: int) -> None:
    """Between the least and the largest of them, whatever the order; a pixel of one tile alone is that tile's."""
    rows, columns, overlap, largest = canvas
    tiles = plan_tiles(rows, columns, largest=largest, overlap=overlap)
    order.shuffle(tiles)
    least, most = torch.full((rows, columns), 9.0), torch.full((rows, columns), -9.0)
    alone = torch.zeros(rows, columns)
    blend = Blend(tiles)
    for index, tile in enumerate(tiles):
        part = gaussian(seed, str(index), (len(tile.rows), len(tile.columns)), CPU)
        blend.add(tile, part)
        tile.of(least).clamp_(max=part)
        tile.of(most).clamp_(min=part)
        tile.of(alone).add_(1)
    assert (blend.result >= least - 1e-5).all()
    assert (blend.result <= most + 1e-5).all()
    assert torch.equal(blend.result[alone == 1], least[alone == 1])


def test_two_neighbours_cross_fade_linearly() -> None:
    left, right = Tile(Span(0, 1), Span(0, 6)), Tile(Span(0, 1), Span(3, 9))
    blend = Blend([left, right])
    blend.add(left, torch.zeros(1, 6))
    blend.add(right, torch.ones(1, 6))
    assert blend.result[0].tolist() == pytest.approx([0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1])


def test_four_tiles_fade_both_ways_where_they_meet() -> None:
    tiles = [Tile(rows, columns) for rows in spans(5, 2, 1) for columns in spans(5, 2, 1)]
    for corner in range(4):
        blend = Blend(tiles)
        for index, tile in enumerate(tiles):
            blend.add(tile, torch.full((3, 3), float(index == corner)))
        assert float(blend.result[2, 2]) == pytest.approx(0.25)
        assert sorted(blend.result.flatten().tolist()) == pytest.approx([0] * 16 + [0.25] + [0.5] * 4 + [1] * 4)


def test_nothing_added_has_no_result() -> None:
    with pytest.raises(ValueError, match="no tile was added"):
        _ = Blend([Tile(Span(0, 1), Span(0, 1))]).result


def a_canvas(components: Components) -> conditioning.Conditioning:
    """Two latent frames with a start image and an end image, each of them only half there."""
    held = conditioning.free(GRID.video_coords(components.transformer, CPU), components.transformer.config.in_channels)
    images = (gaussian(3, purpose, (1, GRID.rows * GRID.columns, 8), CPU) for purpose in ("start", "end"))
    return held.with_start(next(images), 0.7).with_keyframe(next(images), 0.4, 8, GRID.fps)


def a_state(components: Components) -> State:
    tokens = GRID.tokens + GRID.rows * GRID.columns
    return State(gaussian(4, "video", (1, tokens, 8), CPU), gaussian(4, "audio", (1, GRID.audio_frames, 32), CPU))


def test_a_tile_keeps_its_places_masks_and_images(components: Components) -> None:
    held, tile = a_canvas(components), Tile(Span(1, 4), Span(2, 7))
    part = cut(held, GRID, tile)
    frames = 3  # two of the grid, one of the keyframe
    index = torch.arange(frames * GRID.rows * GRID.columns).view(frames, GRID.rows, GRID.columns)[:, 1:4, 2:7].flatten()
    assert torch.equal(part.mask, held.mask[:, index])
    assert torch.equal(part.clean, held.clean[:, index])
    assert torch.equal(part.coords, held.coords[:, :, index])
    # On the whole canvas: the first pixel row of the tile's first token is that of the canvas' second row.
    assert part.coords[0, 1:, 0, 0].tolist() == [32, 64]


def denoisers(components: Components) -> tuple[Denoiser, list[TiledDenoiser]]:
    guidance, held = Guidance(cfg=3), a_canvas(components)
    positive, negative = embed(components, "a robot"), embed(components, "blurry")

    def build(held: conditioning.Conditioning) -> Denoiser:
        return Denoiser(
            components.transformer, GRID, held, positive, negative, video=guidance, audio=guidance, stg_block=1
        )

    tilings = [plan_tiles(GRID.rows, GRID.columns, largest=largest, overlap=2) for largest in (42, 20)]
    return build(held), [TiledDenoiser(tiles, GRID, held, build) for tiles in tilings]


def test_one_tile_denoises_to_the_bit_as_the_whole(components: Components) -> None:
    whole, (one, _) = denoisers(components)
    state = a_state(components)
    expected, got = whole(state, 0.7), one(state, 0.7)
    assert torch.equal(got.video, expected.video)
    assert torch.equal(got.audio, expected.audio)


def test_tiles_denoise_alone_and_share_the_sound(components: Components) -> None:
    """Equal to each tile's own estimate where it is alone; the sound is the mean."""
    _, (_, tiled) = denoisers(components)
    held, state, tiles = a_canvas(components), a_state(components), plan_tiles(6, 7, largest=20, overlap=2)
    assert len(tiles) == 4
    guidance, (positive, negative) = Guidance(cfg=3), (embed(components, text) for text in ("a robot", "blurry"))
    alone, covered = torch.zeros(1, 8, 3, 6, 7), torch.zeros(6, 7)
    sounds: list[Tensor] = []
    for tile in tiles:
        build = Denoiser(
            components.transformer,
            GRID,
            cut(held, GRID, tile),
            positive,
            negative,
            video=guidance,
            audio=guidance,
            stg_block=1,
        )
        own = build(State(pack(tile.of(unpack(state.video, 3, 6, 7))), state.audio), 0.7)
        tile.of(alone).copy_(unpack(own.video, 3, len(tile.rows), len(tile.columns)))
        tile.of(covered).add_(1)
        sounds.append(own.audio)
    got = tiled(state, 0.7)
    single = covered == 1
    assert single.sum() >= 8
    torch.testing.assert_close(unpack(got.video, 3, 6, 7)[..., single], alone[..., single], atol=1e-6, rtol=0)
    torch.testing.assert_close(got.audio, torch.stack(sounds).mean(0), atol=1e-6, rtol=0)


def test_a_denoiser_of_each_token_alone_is_blind_to_tiles() -> None:
    """Whatever the tiles, what needs no neighbours comes out the same."""
    held = conditioning.free(torch.zeros(1, 3, GRID.tokens, 2), 8)
    state = State(gaussian(1, "video", (1, GRID.tokens, 8), CPU), gaussian(1, "audio", (1, 9, 32), CPU))
    for largest in (42, 30, 20, 12, 9):
        tiles = plan_tiles(GRID.rows, GRID.columns, largest=largest, overlap=2)
        tiled = TiledDenoiser(
            tiles, GRID, held, lambda part: lambda state, sigma: State(state.video.tanh(), state.audio * sigma)
        )
        got = tiled(state, 0.5)
        torch.testing.assert_close(got.video, state.video.tanh(), atol=1e-6, rtol=0)
        torch.testing.assert_close(got.audio, state.audio * 0.5, atol=1e-6, rtol=0)


def latents(frames: int, rows: int, columns: int) -> Tensor:
    return gaussian(rows, "latents", (1, 8, frames, rows, columns), CPU)


def test_frames_within_the_limit_are_the_vaes_own_decoding(components: Components) -> None:
    vae, normalised = components.vae, latents(2, 5, 3)
    whole = normalised * channelwise(vae.latents_std, normalised) + channelwise(vae.latents_mean, normalised)
    expected = vae.decode(whole, return_dict=False)[0][0].transpose(0, 1) / 2 + 0.5
    assert torch.equal(torch.cat(list(decode_video(vae, normalised, cells=15))), expected)


def own_decoding(components: Components, normalised: Tensor) -> Tensor:
    """(frames, 3, height, width) as the VAE itself decodes it."""
    vae = components.vae
    whole = normalised * channelwise(vae.latents_std, normalised) + channelwise(vae.latents_mean, normalised)
    frames: Tensor = vae.decode(whole, return_dict=False)[0][0].transpose(0, 1) / 2 + 0.5
    return frames


def faded(left: Tensor, right: Tensor, shared: int) -> Tensor:
    """Two pictures side by side, the last ``shared`` columns of one fading into the first of the other."""
    rising = torch.arange(1, shared + 1) / (shared + 1)
    middle = torch.lerp(left[..., -shared:], right[..., :shared], rising)
    return torch.cat((left[..., :-shared], middle, right[..., shared:]), dim=-1)


def test_decoded_tiles_fade_into_each_other(components: Components) -> None:
    """Each tile is decoded by itself, and the two are the whole but for what the decoder sees beyond a border."""
    vae, normalised = components.vae, latents(2, 3, 20)
    decoded: list[int] = []
    hook = vae.decoder.register_forward_hook(lambda module, inputs, output: decoded.append(output.shape[-1]))
    try:
        tiled = torch.cat(list(decode_video(vae, normalised, cells=36)))
    finally:
        hook.remove()
    assert decoded == [384, 384]  # of 640 pixels: neither time the whole
    left, right = own_decoding(components, normalised[..., :12]), own_decoding(components, normalised[..., 8:])
    torch.testing.assert_close(tiled, faded(left, right, 4 * 32), atol=1e-5, rtol=0)
    difference = (tiled - own_decoding(components, normalised)).abs()
    for untouched in (slice(0, 4 * 32), slice(16 * 32, None)):
        assert float(difference[..., untouched].max()) < 1e-3
    assert float(difference[..., 10 * 32].mean()) > 1e-3


def test_tiles_in_space_and_time_together(components: Components) -> None:
    vae, normalised = components.vae, latents(5, 3, 12)
    tiled = torch.cat(list(decode_video(vae, normalised, tile=4, overlap=2, cells=24)))
    first, second = (
        faded(
            own_decoding(components, normalised[:, :, frames, :, :8]),
            own_decoding(components, normalised[:, :, frames, :, 4:]),
            4 * 32,
        )
        for frames in (slice(0, 4), slice(2, 5))
    )
    shared = 9  # of 25 pictures of the first tile 16 come before the second begins
    rising = torch.linspace(0, 1, shared)[:, None, None, None]
    expected = torch.cat((first[:16], torch.lerp(first[16:], second[:shared], rising), second[shared:]))
    torch.testing.assert_close(tiled, expected, atol=1e-5, rtol=0)


def test_one_tile_at_a_time_is_in_memory(components: Components) -> None:
    """When a tile is decoded, in space or in time, the ones before it are gone: only their blend is left."""
    vae, outputs, most = components.vae, list[StorageWeakRef](), 0

    def before(module: Any, inputs: Any) -> None:
        nonlocal most
        most = max(most, sum(not output.expired() for output in outputs))

    def after(module: Any, inputs: Any, output: Tensor) -> None:
        outputs.append(StorageWeakRef(output.untyped_storage()))

    hooks = [vae.decoder.register_forward_pre_hook(before), vae.decoder.register_forward_hook(after)]
    try:
        for cells, tiles in ((DECODED_CELLS, 2), (24, 4)):
            outputs.clear()
            for _ in decode_video(vae, latents(5, 3, 12), tile=4, overlap=2, cells=cells):
                pass
            assert len(outputs) == tiles
            assert most == 0
    finally:
        for hook in hooks:
            hook.remove()
