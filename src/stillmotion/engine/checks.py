"""Whether an engine can compute a job, told before any of it is computed. No torch."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from stillmotion.engine import schedule
from stillmotion.engine.manifest import Manifest
from stillmotion.errors import BundleError, EngineError, InputError, UnfitLora
from stillmotion.job import Job, Lora, Model, Stage

Selection = tuple[tuple[Path, float], ...]
"""LoRA files and what each is multiplied by."""


def check_job(job: Job, model: Model) -> None:
    """Raises EngineError, with the stage and the numbers, for a job that ``model`` cannot compute."""
    if job.width % 2 or job.height % 2:
        raise EngineError(f"a video has an even size, not {job.width}x{job.height}")
    if not job.stages:
        raise EngineError("a job has at least one stage")
    _check_keyframes(job)
    for index, stage in enumerate(job.stages):
        if fault := _fault(stage, model, first=not index):
            raise EngineError(f"{place(job, index)}: {fault}" if len(job.stages) > 1 else fault)
    for index, (before, stage) in enumerate(pairwise(job.stages), start=1):
        if fault := _mismatch(before, stage):
            raise EngineError(f"{place(job, index)}: {fault}")


def select_loras(stage: Stage, manifest: Manifest, folder: Path, files: Mapping[str, Path]) -> Selection:
    """The stage's LoRAs that change anything; raises EngineError for one that neither bundle nor ``files`` have.

    ``folder``: the bundle's. ``files``: those that are not bundled, by name.
    """
    return tuple((_lora_file(lora, manifest, folder, files), lora.scale) for lora in stage.loras if lora.scale)


@contextmanager
def loras_blamed(files: Mapping[str, Path]) -> Iterator[None]:
    """Tells of a LoRA that does not fit whose it is: InputError at its name in ``files``, else BundleError."""
    try:
        yield
    except UnfitLora as error:
        name = next((name for name, file in files.items() if file == error.file), None)
        if name is None:
            raise BundleError(error.message) from error
        raise InputError(error.message).at(name) from error


def place(job: Job, index: int) -> str:
    """Which of the job's stages that is, in words."""
    return f"stage {index + 1} of {len(job.stages)}"


def _fault(stage: Stage, model: Model, *, first: bool) -> str | None:
    """What is wrong with a stage by itself."""
    if stage.width % model.spatial_multiple or stage.height % model.spatial_multiple:
        return f"{stage.width}x{stage.height} is not on the grid of {model.spatial_multiple} pixels"
    if stage.num_frames % model.temporal_multiple != 1:
        return f"{stage.num_frames} frames are not one more than a multiple of {model.temporal_multiple}"
    refines = stage.start != "noise"
    if first and refines:
        return f"it has no stage before it to start from ({stage.start})"
    if not first and not refines:
        return "only the first stage starts from noise"
    if stage.start != "noise" and stage.start not in model.upsamplers:
        return f"{model.name} has no {stage.start} upsampler"
    try:
        begins = schedule.levels(stage.schedule, stage.steps)[0] == 1
    except ValueError as error:
        return str(error)
    if begins and refines:
        return (
            f"{stage.steps} steps of the {stage.schedule} schedule begin from noise; nothing of the stage before "
            "would be left"
        )
    if not begins and not refines:
        return f"{stage.steps} steps of the {stage.schedule} schedule refine a video; they cannot begin one from noise"
    return None


def _mismatch(before: Stage, stage: Stage) -> str | None:
    """How a stage is not the doubling of the one before that it says."""
    width, height, frames, fps = before.width, before.height, before.num_frames, before.fps
    if stage.start == "spatial_x2":
        width, height = 2 * width, 2 * height
    else:  # the first picture has a latent frame to itself, which is not doubled
        frames, fps = 2 * (frames - 1) + 1, 2 * fps
    # The rates of a plan are quotients: a doubled half may be off in the last bit.
    if (stage.width, stage.height, stage.num_frames) == (width, height, frames) and math.isclose(stage.fps, fps):
        return None
    return (
        f"{stage.start} of {before.width}x{before.height}, {before.num_frames} frames at {before.fps:g} fps is "
        f"{width}x{height}, {frames} frames at {fps:g} fps, not "
        f"{stage.width}x{stage.height}, {stage.num_frames} frames at {stage.fps:g} fps"
    )


def _check_keyframes(job: Job) -> None:
    frames = [keyframe.frame for keyframe in job.keyframes]
    if len(set(frames)) < len(frames):
        raise EngineError("a frame shows one image, not two")
    for keyframe in job.keyframes:
        if not 0 <= keyframe.frame < job.num_frames:
            raise EngineError(f"there is no frame {keyframe.frame} in a video of {job.num_frames}")
        if not 0 <= keyframe.strength <= 1:
            raise EngineError(f"an image's strength is from 0 to 1, not {keyframe.strength}")


def _lora_file(lora: Lora, manifest: Manifest, folder: Path, files: Mapping[str, Path]) -> Path:
    if not lora.bundled:
        if lora.name not in files:
            raise EngineError(f"no file came with the job for the LoRA {lora.name!r}")
        return files[lora.name]
    if lora.name not in manifest.loras:
        raise EngineError(f"{manifest.name} has no LoRA {lora.name!r}, only {', '.join(manifest.loras) or 'none'}")
    return folder / manifest.loras[lora.name]
