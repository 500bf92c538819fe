"""The formulas of activations, held against full-size networks whose every storage is counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_ltx2 import AutoencoderKLLTX2Video
from diffusers.models.autoencoders.autoencoder_kl_ltx2_audio import AutoencoderKLLTX2Audio
from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder, LTX2VocoderWithBWE
from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel
from full_size import write_full_size_bundle
from live_memory import META, empty, peak_bytes
from official_layout import published_configs

from stillmotion.engine import activations, conditioning
from stillmotion.engine.activations import Tokens
from stillmotion.engine.denoise import Denoiser, Mode
from stillmotion.engine.footprint import Widths, measure_bundle
from stillmotion.engine.grid import Grid
from stillmotion.engine.guidance import needed
from stillmotion.engine.manifest import load_manifest
from stillmotion.engine.sampler import State
from stillmotion.engine.text import Embedding
from stillmotion.job import Family, Guidance

VERSIONS: Mapping[Family, str] = {"ltx-2": "2.0", "ltx-2.3": "2.3"}
LAYERS = 3
SOUND = 126
PLAIN, CFG, FULL = Guidance(), Guidance(cfg=3), Guidance(cfg=3, stg=1, modality=3)


@pytest.fixture(scope="module")
def widths_of(tmp_path_factory: pytest.TempPathFactory) -> Mapping[Family, Widths]:
    folder = tmp_path_factory.mktemp("full")
    found = {}
    for family in VERSIONS:
        bundle = write_full_size_bundle(folder / family, family)
        found[family] = measure_bundle(bundle, load_manifest(bundle), itemsize=2).widths
    return found


@pytest.fixture
def widths(widths_of: Mapping[Family, Widths], family: Family) -> Widths:
    return widths_of[family]


def built(network: Any, part: str, family: Family, **changes: Any) -> Any:
    config = published_configs()[VERSIONS[family]][part]
    arguments = {name: value for name, value in config.items() if not name.startswith("_")}
    with META:
        made = network(**arguments | changes)
    # Module's own: diffusers' warns that no layer needs to stay in fp32.
    return torch.nn.Module.to(made, torch.bfloat16).eval()


def close(formula: int, counted: int, *, above: float) -> None:
    """The formula covers what was counted, and not by much more."""
    assert counted <= formula <= counted * (1 + above), f"{formula / 2**20:.0f} MiB for {counted / 2**20:.0f}"


@pytest.mark.parametrize(
    ("size", "guidance", "mode"),
    [
        ((22, 40), PLAIN, "sequential"),
        ((22, 40), CFG, "sequential"),
        ((22, 40), FULL, "sequential"),
        ((44, 80), FULL, "sequential"),
        ((11, 20), FULL, "batched"),
        ((22, 40), CFG, "batched"),
    ],
)
def test_a_step_of_the_transformer(
    widths: Widths, family: Family, size: tuple[int, int], guidance: Guidance, mode: Mode
) -> None:
    import dataclasses

    transformer = built(LTX2VideoTransformer3DModel, "transformer", family, num_layers=LAYERS, perturbed_attn=True)
    grid = Grid(16, *size, SOUND, 24.0)
    # On the CPU, as the strengths are read.
    held = conditioning.free(torch.zeros(1, 3, grid.tokens, 2), 128).with_start(
        torch.zeros(1, grid.rows * grid.columns, 128), 1.0
    )
    text = (3840, 3840) if family == "ltx-2" else (4096, 2048)

    def steps() -> None:
        embeddings = [Embedding(*(empty(1, 1024, width) for width in text)) for _ in range(2)]
        denoiser = Denoiser(
            transformer, grid, held, *embeddings, video=guidance, audio=guidance, stg_block=LAYERS - 2, mode=mode
        )
        state = State(empty(1, grid.tokens, 128, dtype=torch.float32), empty(1, SOUND, 128, dtype=torch.float32))
        for sigma in (0.5, 0.4):
            denoiser(state, sigma)

    formula = activations.denoising(
        dataclasses.replace(widths, layers=LAYERS),
        Tokens(video=grid.tokens, audio=SOUND, everywhere=grid.tokens),
        needed(guidance, guidance),
        batched=mode == "batched",
        text_keys=True,
        cached=False,
    )
    close(formula, peak_bytes(transformer, steps), above=0.1)


@pytest.mark.parametrize("shape", [(16, 22, 40), (8, 16, 24), (16, 34, 60)])
def test_decoding_a_tile(widths: Widths, family: Family, shape: tuple[int, int, int]) -> None:
    vae = built(AutoencoderKLLTX2Video, "vae", family)
    counted = peak_bytes(vae, lambda: vae.decode(empty(1, 128, *shape), return_dict=False))
    close(activations.decoding(widths, shape[1] * shape[2], shape[0]), counted, above=0.3)


def test_encoding_a_picture(widths: Widths, family: Family) -> None:
    vae = built(AutoencoderKLLTX2Video, "vae", family)
    counted = peak_bytes(vae, lambda: vae.encode(empty(1, 3, 1, 704, 1280)))
    close(activations.encoding(widths, 704 * 1280), counted, above=0.1)


def test_reading_a_text(widths: Widths, family: Family) -> None:
    connectors = built(LTX2TextConnectors, "connectors", family)

    def read() -> None:
        states = empty(1, 1024, 3840, 49)
        connectors(states, torch.ones(1, 1024, device=META, dtype=torch.int64), padding_side="left")

    close(activations.reading(widths), peak_bytes(connectors, read), above=0.05)


def test_upsampling(widths: Widths, family: Family) -> None:
    upsampler = built(LTX2LatentUpsamplerModel, "latent_upsampler", family)
    counted = peak_bytes(upsampler, lambda: upsampler(empty(1, 128, 16, 11, 20)))
    close(activations.upsampling(widths, 16 * 22 * 40), counted, above=0.05)


def test_sound(widths: Widths, family: Family) -> None:
    audio_vae = built(AutoencoderKLLTX2Audio, "audio_vae", family).float()
    vocoder = built(LTX2Vocoder if family == "ltx-2" else LTX2VocoderWithBWE, "vocoder", family).float()
    both = torch.nn.ModuleList([audio_vae, vocoder])
    latents = 250

    def decode() -> None:
        spectrum = audio_vae.decode(empty(1, 8, latents, 16, dtype=torch.float32), return_dict=False)[0]
        vocoder(spectrum)

    # One formula for both vocoders, one after the other; a gigabyte for 20 seconds is nothing a plan depends on.
    close(activations.sounding(widths, latents / widths.audio_rate), peak_bytes(both, decode), above=2.2)
