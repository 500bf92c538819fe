"""What the endpoints' plans share: the size that was asked for, the images' places, and what the log tells of both."""

from collections.abc import Mapping
from typing import Literal

from stillmotion.endpoints import canvas
from stillmotion.endpoints.bounds import Bounds
from stillmotion.endpoints.vocabulary import ImageSize, VideoOutputType, VideoSize
from stillmotion.errors import Detail
from stillmotion.job import Job, Keyframe

CONTAINERS: Mapping[VideoOutputType, Literal["mp4", "webm", "mov", "gif"]] = {
    "X264 (.mp4)": "mp4",
    "VP9 (.webm)": "webm",
    "PRORES4444 (.mov)": "mov",
    "GIF (.gif)": "gif",
}


def requested_size(size: ImageSize | VideoSize, image: tuple[int, int]) -> tuple[int, int]:
    """Width and height that ``size`` asks for, with the picture's own width and height for ``auto``."""
    if isinstance(size, ImageSize):
        return size.width, size.height
    return canvas.auto_size(image) if size == "auto" else canvas.NAMED_SIZES[size]


def check_size(field: str, size: ImageSize | VideoSize, num_frames: int, bounds: Bounds) -> list[Detail]:
    """The bounds on a size as far as they can be told without the picture: ``auto`` counts as its budget."""
    if isinstance(size, ImageSize):
        return bounds.size(field, size.width, size.height) or bounds.volume(
            field, (size.width, size.height), num_frames
        )
    known = canvas.NAMED_SIZES.get(size, canvas.AUTO_BUDGET)
    return bounds.volume(field, known, num_frames)


def keyframes(
    num_frames: int,
    *,
    strength: float = 1.0,
    end: bool = False,
    end_strength: float = 1.0,
    backward: bool = False,
) -> tuple[Keyframe, ...]:
    """The start image at the first frame and, with ``end``, the end image at the last; ``backward`` swaps them.

    A strength stays with its image. Backward without an end image leads up to the image: it is the last frame.
    """
    first, last = (num_frames - 1, 0) if backward else (0, num_frames - 1)
    start = Keyframe(image="image_url", frame=first, strength=strength)
    return (start, Keyframe(image="end_image_url", frame=last, strength=end_strength)) if end else (start,)


def size_notes(wanted: tuple[int, int], job: Job) -> list[str]:
    """Where the delivery differs from what was asked, and the last stage from the delivery."""
    stage, notes = job.stages[-1], []
    if wanted != (job.width, job.height):
        notes.append(f"{wanted[0]}x{wanted[1]} has an odd side; delivering {job.width}x{job.height}")
    if stage.width < job.width or stage.height < job.height or stage.num_frames < job.num_frames:
        notes.append(
            f"model {job.model} computes {stage.width}x{stage.height} and {stage.num_frames} frames, "
            f"scaled to {job.width}x{job.height} and {job.num_frames} frames"
        )
    return notes
