"""Bundles of the published sizes that take no room on the disk: real headers, and no data behind them."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import torch
from official_layout import PUBLISHED, published_configs, write_sparse
from transformers import Gemma3Config, Gemma3ForConditionalGeneration

from stillmotion.engine.tiny import build_tiny_bundle
from stillmotion.job import Family

_UPSAMPLERS = {"ltx-2": "ltx-2-spatial-upscaler-x2-1.0", "ltx-2.3": "ltx-2.3-spatial-upscaler-x2-1.1"}


def write_full_size_bundle(folder: Path, family: Family) -> Path:
    """The published checkpoint, upsampler and text encoder of ``family``, 68 to 72 GB that nobody can load."""
    build_tiny_bundle(folder, family)
    write_sparse(PUBLISHED[family], folder / "full.safetensors")
    write_sparse(_UPSAMPLERS[family], folder / "upsampler.safetensors")
    _write_text_encoder(folder / "text_encoder")
    manifest = json.loads((folder / "stillmotion.json").read_text())
    manifest |= {
        "name": PUBLISHED[family],
        "checkpoint": "full.safetensors",
        "max_sequence_length": 1024,
        "limits": {},
        "stg_block": 28,
        "upsamplers": {"spatial_x2": "upsampler.safetensors"},
        "loras": {},
    }
    (folder / "stillmotion.json").write_text(json.dumps(manifest))
    return folder


def _write_text_encoder(folder: Path) -> None:
    said: dict[str, Any] = published_configs()["2.0"]["text_encoder"]
    config = Gemma3Config(text_config=said["text_config"], vision_config=said["vision_config"])
    with torch.device("meta"):
        network = Gemma3ForConditionalGeneration(config)
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in network.state_dict().items():
        if name != "lm_head.weight":  # the embedding's
            begin, end = end, end + 2 * tensor.numel()
            header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [begin, end]}
    config.save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    raw = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        file.truncate(8 + len(raw) + end)
