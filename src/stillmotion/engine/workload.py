"""What of a job decides the memory it takes: the sizes of its stages and what each computes."""

from dataclasses import dataclass

from stillmotion.engine.activations import Tokens
from stillmotion.engine.footprint import Widths
from stillmotion.engine.guidance import Pass, needed
from stillmotion.engine.manifest import Manifest
from stillmotion.job import Job, Upsampling

USUAL_WIDTH, USUAL_HEIGHT, USUAL_FRAMES, USUAL_FPS = 1280, 704, 121, 24.0
"""The size that endpoints make where a request names none."""

_EVERY_PASS = frozenset[Pass](("conditional", "negative", "perturbed", "isolated"))


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSize:
    """One stage on the latent grid."""

    width: int
    height: int
    num_frames: int
    frames: int
    rows: int
    columns: int
    audio: int
    """Latents of sound."""
    keyframes: int = 0
    """Pictures that come as tokens of their own, each a frame of them."""
    passes: frozenset[Pass] = _EVERY_PASS
    start: Upsampling | None = None
    """How the stage before is enlarged; ``None``: it starts from noise."""
    cached: bool = False
    """Whether an acceleration that skips blocks is on."""

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def latent_frames(self) -> int:
        """Those of the keyframes too."""
        return self.frames + self.keyframes

    def tokens(self, cells: int | None = None, everywhere: int | None = None) -> Tokens:
        """On the whole canvas, or on tiles of ``cells`` rows x columns that have ``everywhere`` together."""
        whole = self.rows * self.columns
        return Tokens(
            video=self.latent_frames * (cells or whole),
            audio=self.audio,
            everywhere=self.latent_frames * (everywhere or whole),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One job, or the one that is taken for usual."""

    stages: tuple[StageSize, ...]
    pixels: int
    """Of a delivered frame."""
    pictures: int
    """How many are encoded."""
    seconds: float
    """Of sound; 0 without any."""


def workload_of(job: Job, widths: Widths) -> Workload:
    seconds = max(job.num_frames / job.fps, *(stage.num_frames / stage.fps for stage in job.stages))
    held = [keyframe for keyframe in job.keyframes if keyframe.strength > 0]
    return Workload(
        stages=tuple(
            StageSize(
                width=stage.width,
                height=stage.height,
                num_frames=stage.num_frames,
                frames=(stage.num_frames - 1) // widths.frame_ratio + 1,
                rows=stage.height // widths.side_ratio,
                columns=stage.width // widths.side_ratio,
                audio=round(seconds * widths.audio_rate),
                keyframes=sum(keyframe.frame > 0 for keyframe in held),
                passes=needed(stage.video, stage.audio),
                start=None if stage.start == "noise" else stage.start,
                cached=job.acceleration in ("high", "full") and stage.start == "noise",
            )
            for stage in job.stages
        ),
        pixels=job.width * job.height,
        pictures=len(held),
        seconds=seconds if job.audio else 0.0,
    )


def usual_workload(
    widths: Widths,
    manifest: Manifest,
    *,
    width: int = USUAL_WIDTH,
    height: int = USUAL_HEIGHT,
    num_frames: int = USUAL_FRAMES,
) -> Workload:
    """What an engine is made ready for: one stage of that size, within the bundle's limits, with full guidance.

    Two stages of the same result take less: the second has fewer passes.
    """
    limits, side = manifest.limits, widths.side_ratio
    if limits.max_pixels is not None and width * height > limits.max_pixels:
        shrunk = (limits.max_pixels / (width * height)) ** 0.5
        width, height = int(width * shrunk), int(height * shrunk)
    width, height = max(side, width // side * side), max(side, height // side * side)
    num_frames = min(num_frames, limits.max_frames or num_frames)
    stage = StageSize(
        width=width,
        height=height,
        num_frames=num_frames,
        frames=(num_frames - 1) // widths.frame_ratio + 1,
        rows=height // side,
        columns=width // side,
        audio=round(num_frames / USUAL_FPS * widths.audio_rate),
    )
    return Workload(stages=(stage,), pixels=width * height, pictures=1, seconds=num_frames / USUAL_FPS)
