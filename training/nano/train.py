"""The phases of the training, in order, each in slices of wall time."""

from collections.abc import Callable
from pathlib import Path

import torch

from training.nano import (
    joint_training,
    lora_training,
    sound_training,
    text_training,
    timetable,
    upsampler_training,
    video_training,
)
from training.nano.loop import Clock, Phase, Run, Segment
from training.nano.moves import MOVES
from training.nano.presets import Preset
from training.nano.run_folder import RunFolder

LORAS = (*MOVES, lora_training.DISTILLED)
PHASES = (
    video_training.NAME,
    sound_training.NAME,
    text_training.NAME,
    joint_training.NAME,
    sound_training.DECODER,
    upsampler_training.NAME,
    *(lora_training.name(lora) for lora in LORAS),
)
"""Sound and text come before the joint phase, which learns what they mean, and the LoRAs after it. The video decoder's
and the upsampler's training can be continued at any time."""

_STEADY = 0.6
"""Share of a phase's steps before its rate falls."""


def train(
    run: RunFolder,
    phase: str,
    clock: Clock,
    device: torch.device,
    tell: Callable[[str], None],
    *,
    plan: str | None = None,
) -> bool:
    """Trains one phase, or "all" in order, until it is done or time is up; True when it is done.

    ``plan``: a timetable that replaces what is left of a phase, or continues a finished one at the full rate.
    """
    if phase == "all":
        return all(train(run, name, clock, device, tell) for name in PHASES)
    if phase == "loras":
        return all(train(run, lora_training.name(lora), clock, device, tell) for lora in LORAS)
    under_way = Run(_build(run, phase, device), run.path, _segments(run.preset, phase))
    if plan is not None:
        return timetable.follow(under_way, timetable.parse(plan), clock, tell)
    if under_way.finished:
        tell(f"{phase} is trained: {under_way.done} steps")
        return True
    return under_way.train(clock, tell)


def _build(run: RunFolder, phase: str, device: torch.device) -> Phase:
    folder, seed = run.path, run.seed
    if phase == video_training.NAME:
        return video_training.phase(folder, seed)
    if phase == sound_training.NAME:
        return sound_training.phase(folder, seed)
    if phase == sound_training.DECODER:
        return sound_training.decoder_phase(folder, seed)
    if phase == text_training.NAME:
        return text_training.phase(folder, seed)
    if phase == joint_training.NAME:
        return joint_training.phase(folder, run.preset, seed, device, compiled=device.type == "cuda")
    if phase == upsampler_training.NAME:
        return upsampler_training.phase(folder, run.preset, seed, device)
    return lora_training.phase(folder, run.preset, seed, device, phase)


def _segments(preset: Preset, phase: str) -> list[Segment]:
    """What a phase does when nothing else is asked for."""
    if phase == joint_training.NAME:
        *before, (mix, last) = preset.transformer
        steady = [Segment(steps, mix=name) for name, steps in before]
        return [*steady, Segment(last // 2, mix=mix), Segment(last - last // 2, "decay", mix)]
    steps = {
        video_training.NAME: preset.video_steps,
        sound_training.NAME: preset.sound_steps,
        sound_training.DECODER: preset.sound_decoder_steps,
        text_training.NAME: preset.text_steps,
        upsampler_training.NAME: preset.upsampler_steps,
    }.get(phase, preset.lora_steps)
    first = round(steps * _STEADY)
    return [Segment(first), Segment(steps - first, "decay")]


def prepare(run: RunFolder, tell: Callable[[str], None]) -> None:
    """What training needs and does not learn: components, vocabulary and clips. Continues where it was stopped."""
    from training.nano import clips
    from training.nano.blocks import Analyser

    folder, preset = run.path, run.preset
    if not _basis(folder).exists():
        tell("principal components")
        video_training.fit_basis(folder, run.seed, preset.basis_sizes, preset.basis_clips, preset.basis_samples)
    if not (folder / "tokenizer").exists():
        tell("vocabulary")
        text_training.build_tokenizer(folder, run.seed)
    for bucket in clips.prepare(folder, preset.buckets, Analyser(video_training.load_basis(folder)), run.seed, tell):
        tell(f"{bucket.count} clips {bucket.name}")


def _basis(folder: Path) -> Path:
    return folder / "basis.pt"
