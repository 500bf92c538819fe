"""fal-ai/ltx-2.3-quality/image-to-video."""

from collections.abc import Mapping

from pydantic import BaseModel, Field

from stillmotion.endpoints import adapters, canvas, planning, stages
from stillmotion.endpoints.bounds import Bounds
from stillmotion.endpoints.endpoint import Endpoint, Plan, seeded_output
from stillmotion.endpoints.sampling import Sampling
from stillmotion.endpoints.vocabulary import (
    CONFIG,
    File,
    ImageSize,
    VideoQuality,
    VideoSize,
    VideoWriteMode,
)
from stillmotion.errors import Detail
from stillmotion.job import Encoding, Guidance, Job, Model

EXAMPLE_PROMPT = (
    "A woman stands still amid a busy neon-lit street at night. The camera slowly dollies in toward her "
    "face as people blur past, their motion emphasizing her calm presence."
)
EXAMPLE_IMAGE = "https://storage.googleapis.com/falserverless/example_inputs/ltxv-2-i2v-input.jpg"
NEGATIVE_PROMPT = (
    "color distortion, overexposure, static, blurry details, subtitles, style, artwork, painting, frame, still, dim "
    "overall tone, worst quality, low quality, JPEG compression artifacts, ugly, mutilated, extra fingers, poorly "
    "drawn hands, poorly drawn face, deformed, disfigured, malformed limbs, fused fingers, motionless frame, "
    "cluttered background, three legs, crowded background, walking backwards"
)


class Input(BaseModel):
    """The document is a page that prints no ranges; ``Bounds`` has them."""

    model_config = CONFIG

    prompt: str = Field(examples=[EXAMPLE_PROMPT], description="The prompt to guide the video generation.")
    image_url: str = Field(examples=[EXAMPLE_IMAGE], description="The URL of the starting image.")
    num_frames: int = Field(default=121, description="The number of frames to generate.")
    resolution: ImageSize | VideoSize = Field(
        default="auto",
        description="The size of the generated video. 'auto' derives the size from the input image aspect ratio.",
    )
    frames_per_second: float = Field(default=24, description="Frames per second of the generated video.")
    num_inference_steps: int = Field(
        default=15,
        description=(
            "Number of inference steps. Defaults to 15 for this distilled ComfyUI workflow and can be increased up "
            "to 30."
        ),
    )
    guidance_scale: float = Field(
        default=1,
        description="Classifier-free guidance scale. The default follows the distilled LTX-2.3 workflow.",
    )
    generate_audio: bool = Field(
        default=True,
        description=(
            "Whether to include audio in the returned video. When disabled, the final MP4 is returned without an "
            "audio track."
        ),
    )
    image_strength: float = Field(
        default=0.7,
        description=(
            "Conditioning strength on the start image. 1.0 = exact first-frame match, lower = more freedom for the "
            "model."
        ),
    )
    negative_prompt: str = Field(
        default=NEGATIVE_PROMPT, description="The negative prompt to steer generation away from."
    )
    seed: int | None = Field(
        default=None, description="Random seed for reproducibility. If None, a random seed is chosen."
    )
    enable_prompt_expansion: bool = Field(default=True, description="Whether to enable prompt expansion.")
    enable_safety_checker: bool = Field(default=True, description="Whether to enable the safety checker.")
    video_quality: VideoQuality = Field(default="high", description="The quality preset of the generated video.")
    video_write_mode: VideoWriteMode = Field(default="balanced", description="The write mode of the generated video.")
    sync_mode: bool = Field(
        default=False,
        description=(
            "If True, the media is returned as a data URI inline in the response. Useful for short-lived requests "
            "and tests."
        ),
    )


class Output(BaseModel):
    model_config = CONFIG

    video: File = Field(description="The generated video.")
    seed: int = Field(description="The seed actually used for generation.")
    prompt: str = Field(description="The prompt used for generation (after any expansion).")


DISTILLED_SCALE = 0.5
"""Of the distilled LoRA in the published single-stage distilled workflow, whose defaults the document names."""


def check(request: Input, bounds: Bounds) -> list[Detail]:
    frames, fps = request.num_frames, request.frames_per_second
    outside = (
        bounds.number(("num_frames",), frames, bounds.min_frames, bounds.max_frames)
        + bounds.number(("frames_per_second",), fps, bounds.min_fps, bounds.max_fps)
        # The noise schedule needs a level between its ends, so two steps at least.
        + bounds.number(("num_inference_steps",), request.num_inference_steps, 2, bounds.max_steps)
        + bounds.number(("guidance_scale",), request.guidance_scale, 1, bounds.max_guidance_scale)
        + bounds.number(("image_strength",), request.image_strength, 0, 1)
    )
    return (
        bounds.text("prompt", request.prompt)
        + bounds.text("negative_prompt", request.negative_prompt)
        + bounds.seed(request.seed)
        + (outside or planning.check_size("resolution", request.resolution, frames, bounds))
    )


def plan(request: Input, sizes: Mapping[str, tuple[int, int]], seed: int, model: Model) -> Plan:
    size = planning.requested_size(request.resolution, sizes["image_url"])
    width, height = canvas.even(size)
    num_frames, fps = request.num_frames, request.frames_per_second
    guidance = Guidance(cfg=request.guidance_scale)
    # The workflow's ancestral Euler is the plain step with restart noise. Its defaults suit distilled weights too.
    sampling = Sampling(
        steps=request.num_inference_steps,
        video=guidance,
        audio=guidance,
        restart=True,
        adapters=adapters.distilled(DISTILLED_SCALE, model),
    )
    chain = stages.single((width, height), num_frames, fps, model, sampling)
    job = Job(
        model=model.name,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        width=width,
        height=height,
        num_frames=num_frames,
        fps=fps,
        seed=seed,
        audio=request.generate_audio,
        keyframes=planning.keyframes(num_frames, strength=request.image_strength),
        stages=chain.stages,
        expand_prompt=request.enable_prompt_expansion,
        check_safety=request.enable_safety_checker,
    )
    encoding = Encoding(quality=request.video_quality, write_mode=request.video_write_mode)
    return Plan(job, encoding, (*planning.size_notes(size, job), *chain.notes))


ENDPOINT = Endpoint(
    id="fal-ai/ltx-2.3-quality/image-to-video",
    title="Ltx 2.3 Quality",
    summary="Generate high-quality video with audio from images using LTX-2.3",
    model_family="ltx-2.3",
    input=Input,
    output=Output,
    image_fields=("image_url",),
    aliases={"image_size": "resolution"},
    check=check,
    plan=plan,
    respond=seeded_output,
)
