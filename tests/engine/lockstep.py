"""One of several processes that compute together. ``python lockstep.py RANK SIZE MEETING BUNDLE SPLIT``

Computes the guided estimate of one step alone, then together with the others, and prints how far they are apart; then
a whole job of two stages likewise.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from stillmotion.engine import conditioning
from stillmotion.engine.components import load_components
from stillmotion.engine.denoise import Denoiser
from stillmotion.engine.engine import Engine
from stillmotion.engine.grid import Grid
from stillmotion.engine.manifest import load_manifest
from stillmotion.engine.parallel.context import split_context
from stillmotion.engine.parallel.group import Group, join
from stillmotion.engine.sampler import State
from stillmotion.engine.text import Embedding
from stillmotion.job import Guidance, Job, Keyframe, Stage

VIDEO, AUDIO = Guidance(cfg=3.0, stg=1.0, modality=3.0, rescale=0.7), Guidance(cfg=7.0, modality=3.0)


def main(rank: int, size: int, meeting: Path, bundle: Path, split: str) -> None:
    torch.set_num_threads(1)
    manifest = load_manifest(bundle)
    components = load_components(bundle, manifest, torch.device("cpu"), torch.float32)
    transformer = components.transformer
    # 3 x 3 x 3 video tokens and 11 of sound: neither divides by 2, nor does an appended keyframe's 9.
    grid = Grid(frames=3, rows=3, columns=3, audio_frames=11, fps=24.0)
    generator = torch.Generator().manual_seed(5)
    width = transformer.config.in_channels
    held = conditioning.free(grid.video_coords(transformer, components.device), width)
    held = held.with_start(torch.randn(1, 9, width, generator=generator), 0.7)
    state = State(
        torch.randn(1, held.mask.shape[1], width, generator=generator),
        torch.randn(1, 11, transformer.config.audio_in_channels, generator=generator),
    )
    texts = [
        Embedding(torch.randn(1, 16, video, generator=generator), torch.randn(1, 16, audio, generator=generator))
        for video, audio in [text_widths(transformer)] * 2
    ]

    def estimate(**options: object) -> State:
        denoiser = Denoiser(
            transformer, grid, held, *texts, video=VIDEO, audio=AUDIO, stg_block=manifest.stg_block, **options
        )
        with torch.inference_mode():
            return denoiser(state, 0.8)

    alone = estimate(mode="sequential")
    group = join(rank, size, meeting, torch.device("cpu"))
    if split == "context":
        split_context(transformer, group)
        together = estimate(mode="sequential", timestep_per_token=True)
    else:
        together = estimate(group=group)
    whole = generated(bundle, None) - generated(bundle, group, parallel=split)
    stops = [group.agree(rank == 0), group.agree(rank == 1)]
    torch.distributed.destroy_process_group()
    apart = max(float((a - b).abs().max()) for a, b in zip(fields(alone), fields(together), strict=True))
    print(
        json.dumps(
            {"apart": apart, "size": float(alone.video.abs().max()), "stops": stops, "frames": float(whole.abs().max())}
        )
    )


def generated(bundle: Path, group: Group | None, **options: object) -> torch.Tensor:
    """The frames of a job, as numbers from 0 to 255."""
    refining = Stage(width=128, height=128, num_frames=9, fps=24.0, steps=3, schedule="distilled", start="spatial_x2")
    first = Stage(width=64, height=64, num_frames=9, fps=24.0, steps=3, video=VIDEO, audio=AUDIO, restart=True)
    job = Job(
        model="tiny",
        prompt="a cat",
        negative_prompt="blurry",
        width=128,
        height=128,
        num_frames=9,
        fps=24.0,
        seed=7,
        audio=False,
        keyframes=(Keyframe(image="image_url", frame=0, strength=0.7),),
        stages=(first, refining),
    )
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    generation = Engine.load(bundle, device="cpu", group=group, **options).generate(
        job, {"image_url": picture}, on_progress=lambda _: None, should_stop=lambda: False, mode="sequential"
    )
    return torch.from_numpy(np.concatenate(list(generation.frames)).astype(np.float32))


def text_widths(transformer: object) -> tuple[int, int]:
    config = transformer.config
    if config.use_prompt_embeddings:
        return config.caption_channels, config.caption_channels
    return config.cross_attention_dim, config.audio_cross_attention_dim


def fields(state: State) -> tuple[torch.Tensor, torch.Tensor]:
    return state.video, state.audio


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]), sys.argv[5])
