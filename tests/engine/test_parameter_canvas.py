"""Size, length and rate of a request: where its tokens lie in seconds and pixels, and how long its sound is."""

from collections.abc import Mapping
from dataclasses import replace
from math import ceil

import pytest
import torch
from analytic import B19, LORA, LTX_2, LTX_2_3, OPEN, QUALITY, plan
from torch import Tensor

from stillmotion.endpoints.endpoint import Endpoint
from stillmotion.engine import conditioning
from stillmotion.engine.components import Components
from stillmotion.engine.grid import Grid, audio_frames
from stillmotion.job import Family, Job

CPU = torch.device("cpu")
RATE = {B19.id: "fps", LORA.id: "fps", QUALITY.id: "frames_per_second"}
SIZE = {B19.id: "video_size", LORA.id: "video_size", QUALITY.id: "resolution"}

every_open_endpoint = pytest.mark.parametrize("endpoint", OPEN, ids=lambda endpoint: endpoint.id)


@pytest.fixture(scope="module")
def components(loaded: Mapping[Family, Components]) -> Components:
    return loaded["ltx-2.3"]


def grids(job: Job, components: Components) -> list[Grid]:
    return [Grid.of(stage, components.vae, audio_frames(job, components.audio_vae)) for stage in job.stages]


def boxes(frames: int, rows: int, columns: int, fps: float) -> Tensor:
    """In seconds, pixel rows and pixel columns: the first latent frame stands for one picture, each other for eight."""
    places = [
        [(max(0, 8 * f - 7) / fps, (8 * f + 1) / fps), (32 * r, 32 * r + 32), (32 * c, 32 * c + 32)]
        for f in range(frames)
        for r in range(rows)
        for c in range(columns)
    ]
    return torch.tensor(places, dtype=torch.float64).transpose(0, 1)[None]


def near(value: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=1e-6)


@every_open_endpoint
@pytest.mark.parametrize(
    ("num_frames", "fps"), [(9, 1.0), (9, 60.0), (17, 23.976), (97, 24.0), (121, 25.0), (122, 24.0), (481, 60.0)]
)
def test_frames_and_rate(components: Components, endpoint: Endpoint, num_frames: int, fps: float) -> None:
    """Every token is told its time; the sound lasts as long as all pictures that are computed."""
    job = plan(endpoint, num_frames=num_frames, **{RATE[endpoint.id]: fps})
    (grid,) = grids(job, components)
    assert (job.num_frames, job.fps) == (num_frames, fps)
    computed = ceil((num_frames - 1) / 8) * 8 + 1
    assert grid.frames == (computed - 1) // 8 + 1
    near(grid.video_coords(components.transformer, CPU), boxes(grid.frames, 2, 2, fps))
    # 25 latents of sound a second.
    assert grid.audio_frames == round(computed / fps * 25)
    starts = grid.audio_coords(components.transformer, CPU)[0, 0, :, 0].tolist()
    # The first of them stands for one step of the spectrogram, each other for four.
    assert starts == pytest.approx([max(0, 4 * index - 3) / 100 for index in range(grid.audio_frames)], abs=1e-6)


@every_open_endpoint
@pytest.mark.parametrize("size", [(64, 64), (96, 64), (130, 98), (1024, 576), (704, 1248)])
def test_the_size(components: Components, endpoint: Endpoint, size: tuple[int, int]) -> None:
    """Exactly as asked for; the tokens are those of the next multiples of 32, at their pixels."""
    width, height = size
    job = plan(endpoint, **{SIZE[endpoint.id]: {"width": width, "height": height}})
    (grid,) = grids(job, components)
    assert (job.width, job.height) == size
    assert (grid.columns, grid.rows) == (ceil(width / 32), ceil(height / 32))
    near(grid.video_coords(components.transformer, CPU), boxes(2, grid.rows, grid.columns, job.fps))


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("square_hd", (1024, 1024)),
        ("square", (512, 512)),
        ("portrait_4_3", (768, 1024)),
        ("portrait_16_9", (576, 1024)),
        ("landscape_4_3", (1024, 768)),
        ("landscape_16_9", (1024, 576)),
        ("auto", (1248, 704)),
    ],
)
@every_open_endpoint
def test_the_named_sizes(endpoint: Endpoint, value: str, size: tuple[int, int]) -> None:
    job = plan(endpoint, image=(1920, 1080), **{SIZE[endpoint.id]: value})
    assert (job.width, job.height) == size


@pytest.mark.parametrize("duration", [6, 8, 10])
@pytest.mark.parametrize(("endpoint", "fps"), [(LTX_2, 25), (LTX_2, 50), *((LTX_2_3, fps) for fps in (24, 25, 48, 50))])
def test_duration_and_rate_of_pro(components: Components, endpoint: Endpoint, duration: int, fps: int) -> None:
    """Exactly the seconds; above 30 a second half of the frames come first and a temporal doubling makes the others."""
    job = plan(endpoint, duration=duration, fps=fps)
    assert (job.num_frames, job.fps) == (duration * fps, fps)
    stages, found = job.stages, grids(job, components)
    assert [stage.fps for stage in stages] == [fps / 2, fps / 2, fps] if fps > 30 else [fps, fps]
    for stage, grid in zip(stages, found, strict=True):
        assert stage.num_frames / stage.fps >= duration - 1e-9
        small = Grid(grid.frames, 1, 1, grid.audio_frames, grid.fps)
        near(small.video_coords(components.transformer, CPU), boxes(grid.frames, 1, 1, stage.fps))
    assert len({grid.audio_frames for grid in found}) == 1
    assert found[0].audio_frames == round(max(stage.num_frames / stage.fps for stage in stages) * 25)


@pytest.mark.parametrize(
    ("resolution", "landscape"), [("1080p", (1920, 1080)), ("1440p", (2560, 1440)), ("2160p", (3840, 2160))]
)
@pytest.mark.parametrize("aspect", ["16:9", "9:16", "auto"])
@pytest.mark.parametrize("image", [(1600, 900), (900, 1600)])
def test_resolution_and_aspect_of_pro(
    components: Components, resolution: str, landscape: tuple[int, int], aspect: str, image: tuple[int, int]
) -> None:
    portrait = aspect == "9:16" or (aspect == "auto" and image[1] > image[0])
    size = landscape[::-1] if portrait else landscape
    job = plan(LTX_2_3, image=image, resolution=resolution, aspect_ratio=aspect)
    assert (job.width, job.height) == size
    grid = grids(job, components)[-1]
    multiple = 2 ** (len(job.stages) - 1)
    assert (grid.columns, grid.rows) == tuple(ceil(side / 32 / multiple) * multiple for side in size)
    if aspect == "auto":
        other = plan(LTX_2, image=image, resolution=resolution)
        assert (other.width, other.height) == size


@pytest.mark.parametrize("endpoint", [B19, LORA], ids=lambda endpoint: endpoint.id)
@pytest.mark.parametrize(("num_frames", "fps"), [(9, 24.0), (121, 24.0), (100, 30.0)])
def test_the_place_of_the_images(components: Components, endpoint: Endpoint, num_frames: int, fps: float) -> None:
    """The start image is the first latent frame; the end image is there for the last delivered frame alone."""
    job = plan(endpoint, num_frames=num_frames, fps=fps, end_image_url="data:,")
    assert [(keyframe.image, keyframe.frame) for keyframe in job.keyframes] == [
        ("image_url", 0),
        ("end_image_url", num_frames - 1),
    ]
    (grid,) = grids(job, components)
    free = conditioning.free(grid.video_coords(components.transformer, CPU), 8)
    image = torch.zeros(1, grid.rows * grid.columns, 8)
    held = free.with_keyframe(image, 1.0, job.keyframes[1].frame, job.fps)
    own = held.coords[:, :, grid.tokens :].double()
    expected = boxes(1, grid.rows, grid.columns, fps)
    expected[:, 0] = torch.tensor([(num_frames - 1) / fps, num_frames / fps])
    near(own, expected)


@every_open_endpoint
def test_without_sound_the_same_is_computed(endpoint: Endpoint) -> None:
    assert plan(endpoint, generate_audio=False) == replace(plan(endpoint), audio=False)
