"""The trained networks of a run, put together."""

from pathlib import Path
from typing import Any

import torch

from training.nano import joint_training, sound, sound_training, text_training, upsampler_training, video_training
from training.nano.run_folder import RunFolder


def assemble(run: RunFolder) -> dict[str, Any]:
    """Every component of a bundle by its folder's name, as far as it is trained, in fp32."""
    folder, seed = run.path, run.seed
    joint = joint_training.load(folder, run.preset, seed, torch.device("cpu"), average=True)
    return {
        "tokenizer": text_training.load_tokenizer(folder),
        "text_encoder": joint.encoder,
        "connectors": joint.connectors,
        "transformer": joint.transformer,
        "vae": video_training.load_vae(folder),
        "audio_vae": sound_training.load_vae(folder),
        "vocoder": sound.vocoder(),
        "spatial_upsampler": upsampler_training.load(folder, seed),
    }


def trained_loras(folder: Path, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if (folder / f"lora-{name}.pt").exists())
