"""The chain of stages: a first one samples from noise, each later one doubles the video before it and refines it.

docs/endpoints.md has the rules and the sizes they lead to.
"""

from typing import Literal, NamedTuple

from stillmotion.endpoints import canvas
from stillmotion.endpoints.canvas import Grid
from stillmotion.endpoints.sampling import Sampling
from stillmotion.job import Model, Stage, Upsampling

MOST_FIRST_PIXELS = 1024 * 1024
"""A first stage that would be larger is halved again: half of 2160p, 1920x1088, costs a guided pass of 1.7 PFLOP for
121 frames, a quarter of it 0.27."""

LEAST_FIRST_CELLS = 2
"""Along each side, 64 pixels: a side of one latent has nothing beside it to compose."""

FULL_RATE = 30.0
"""Frames per second up to which all frames are computed from the first stage on; above are the Pro rates 48 and 50."""


class Chain(NamedTuple):
    """The stages, and what the log tells about them."""

    stages: tuple[Stage, ...]
    notes: tuple[str, ...]


def single(size: tuple[int, int], num_frames: int, fps: float, model: Model, sampling: Sampling) -> Chain:
    """One stage on the canvas of the delivery."""
    return _chained(canvas.grid(size, num_frames, fps, model), [], sampling, sampling)


def multiscale(
    size: tuple[int, int],
    num_frames: int,
    fps: float,
    model: Model,
    *,
    first: Sampling,
    refining: Sampling,
    from_half_rate: bool = False,
) -> Chain:
    """A first stage at half of each side, or less, then a doubling and refinement at a time up to the delivery.

    With ``from_half_rate``, a video above ``FULL_RATE`` starts with half of its frames. What the model has no upsampler
    for, or what would leave a first stage below the least, is computed at the full size or rate from the start.
    """
    spatial, notes = _halvings(size, model)
    temporal = 0
    if from_half_rate:
        temporal, slow = _half_rate(num_frames, fps, model)
        notes += slow
    # Space, time, then space again: the published order. It is also the cheaper one of 2160p: before the last stage
    # comes one of a quarter of its tokens, where time last would have one of half of them.
    doublings: list[Upsampling] = ["spatial_x2"] * spatial
    doublings[1:1] = ["temporal_x2"] * temporal
    last = canvas.grid(size, num_frames, fps, model, spatial=spatial, temporal=temporal)
    chain = _chained(last, doublings, first, refining)
    return Chain(chain.stages, notes + chain.notes)


def _halvings(size: tuple[int, int], model: Model) -> tuple[int, tuple[str, ...]]:
    """How often both sides are halved for the first stage, and why not at all."""
    if "spatial_x2" not in model.upsamplers:
        return 0, (f"model {model.name} has no spatial upsampler: one scale, the full size",)
    least, halvings = LEAST_FIRST_CELLS * model.spatial_multiple, 0
    while True:
        width, height = (side >> halvings + 1 for side in canvas.sides(size, model, halvings + 1))
        if min(width, height) < least:
            break
        halvings += 1
        if width * height <= MOST_FIRST_PIXELS:
            break
    if halvings:
        return halvings, ()
    return 0, (f"one scale, the full size: half of it would have a side below {least} pixels",)


def _half_rate(num_frames: int, fps: float, model: Model) -> tuple[int, tuple[str, ...]]:
    """Whether the first stage has half of the frames: 1 or 0, and why not."""
    # The rate that is computed: a limit on frames may have lowered it already.
    _, rate = canvas.frames(num_frames, fps, model)
    if rate <= FULL_RATE:
        return 0, ()
    if "temporal_x2" not in model.upsamplers:
        return 0, (f"model {model.name} has no temporal upsampler: every stage has {rate:g} frames per second",)
    computed, _ = canvas.frames(num_frames, fps, model, halvings=1)
    return int(computed > 1), ()


def _chained(last: Grid, doublings: list[Upsampling], first: Sampling, refining: Sampling) -> Chain:
    grids = canvas.ladder(last, doublings)
    stages = [_stage(grids[0], first, "noise")]
    stages += [_stage(grid, refining, start) for grid, start in zip(grids[1:], doublings, strict=True)]
    used = (first, refining) if doublings else (first,)
    notes = [note for sampling in used for note in (*sampling.notes, *sampling.adapters.notes)]
    told = (f"stage {number} of {len(stages)}: {_told(stage)}" for number, stage in enumerate(stages, 1))
    return Chain(tuple(stages), (*dict.fromkeys(notes), *told))


def _stage(grid: Grid, sampling: Sampling, start: Upsampling | Literal["noise"]) -> Stage:
    return Stage(
        width=grid.width,
        height=grid.height,
        num_frames=grid.num_frames,
        fps=grid.fps,
        steps=sampling.steps,
        schedule=sampling.schedule,
        video=sampling.video,
        audio=sampling.audio,
        gradient_gamma=sampling.gradient_gamma,
        restart=sampling.restart,
        start=start,
        loras=sampling.adapters.loras,
    )


def _told(stage: Stage) -> str:
    told = f"{stage.width}x{stage.height}, {stage.num_frames} frames at {stage.fps:g} fps, "
    told += f"{stage.steps} steps, schedule {stage.schedule}"
    if stage.loras:
        told += f", LoRAs {', '.join(f'{lora.name} at {lora.scale:g}' for lora in stage.loras)}"
    return told
