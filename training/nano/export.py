"""Writes the bundle: diffusers' folders in bf16, the manifest, the licence and the model card."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from stillmotion.engine.lora.names import published
from stillmotion.engine.manifest import FORMAT, MANIFEST, Licence, Limits, Manifest
from stillmotion.engine.quiet import without_progress_bars
from stillmotion.job import to_json
from training.nano import components, joint_training, lora_training, model_card
from training.nano.blocks import SPATIAL
from training.nano.moves import MOVES
from training.nano.prompts import NEGATIVE_PROMPT
from training.nano.run_folder import RunFolder

MAX_PIXELS, MAX_FRAMES = 256 * 256, 25
"""What is computed at most: seconds on two CPU cores. The rest of a request is scaled up and spread in time."""

TEXT_LENGTH = 256
IMAGE_CRF = 20
"""Start images are re-compressed gently: at 256 pixels the published models' 33 takes what little detail there is."""

_LICENSE = Path(__file__).parents[2] / "LICENSE"


def export(run: RunFolder, folder: Path, *, evaluation: Path | None = None) -> None:
    """Writes the bundle to ``folder``, whole or not at all. Raises FileExistsError if it is there.

    ``evaluation``: the folder of results that the card reports.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists already")
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        building.chmod(0o755)  # mkdtemp's folders are private
        with torch.no_grad(), without_progress_bars():
            parts = components.assemble(run)
            stg_block = joint_training.stg_block(parts["transformer"])
            for name, part in parts.items():
                _halve(part)
                part.save_pretrained(building / name)
        loras = _write_loras(run, building)
        _write_manifest(building, stg_block, loras)
        shutil.copy(_LICENSE, building / "LICENSE")
        model_card.write(run, building, evaluation)
        for file in building.rglob("*.safetensors"):
            file.chmod(0o644)  # safetensors writes for its owner alone
        building.rename(folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def size(folder: Path) -> int:
    """Bytes of all its files."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _halve(part: Any) -> None:
    """To bf16 where it stands; diffusers' own ``to`` warns of layers that it would keep, of which there are none."""
    if not isinstance(part, torch.nn.Module):
        return
    for tensor in (*part.parameters(), *part.buffers()):
        if tensor.is_floating_point():
            tensor.data = tensor.data.bfloat16()


def _write_loras(run: RunFolder, folder: Path) -> Mapping[str, str]:
    """Those that are trained, with the published files' names for layers and factors."""
    files = {}
    for lora in components.trained_loras(run.path, (*MOVES, lora_training.DISTILLED)):
        tensors = {}
        for key, factor in lora_training.factors(run.path, run.preset, run.seed, lora).items():
            layer, _, rest = key.partition(".lora_")
            tensors[f"diffusion_model.{published('transformer', layer)}.lora_{rest}"] = factor.bfloat16().contiguous()
        files[lora] = f"lora-{lora.replace('_', '-')}.safetensors"
        save_file(tensors, folder / files[lora], metadata={"license": "Apache-2.0"})
    return files


def _write_manifest(folder: Path, stg_block: int, loras: Mapping[str, str]) -> None:
    manifest = Manifest(
        name="nano",
        family="ltx-2",
        stg_block=stg_block,
        max_sequence_length=TEXT_LENGTH,
        licence=Licence(name="Apache-2.0", file="LICENSE"),
        image_crf=IMAGE_CRF,
        negative_prompt=NEGATIVE_PROMPT,
        limits=Limits(max_pixels=MAX_PIXELS, max_frames=MAX_FRAMES),
        demonstration=True,
        distilled=True,  # four to eight steps are enough, and guidance adds nothing but time
        upsamplers={"spatial_x2": "spatial_upsampler"},
        loras=loras,
        spatial_multiple=SPATIAL,
    )
    text = json.dumps({"format": FORMAT, **to_json(manifest)}, indent=2) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")
