"""fal-ai/ltx-2.3-22b/image-to-video/lora."""

from collections.abc import Mapping

from pydantic import BaseModel, Field

from stillmotion.endpoints import adapters, loras, open_weights, planning
from stillmotion.endpoints.bounds import Bounds
from stillmotion.endpoints.endpoint import Endpoint, Plan, seeded_output
from stillmotion.endpoints.sampling import Sampling, refining, suited
from stillmotion.endpoints.vocabulary import (
    CONFIG,
    Acceleration,
    CameraLora,
    ImageSize,
    InterpolationDirection,
    LoRAInput,
    Scheduler,
    VideoFile,
    VideoOutputType,
    VideoQuality,
    VideoSize,
    VideoWriteMode,
)
from stillmotion.errors import Detail
from stillmotion.job import Guidance, Model

EXAMPLE_PROMPT = (
    "A woman stands still amid a busy neon-lit street at night. The camera slowly dollies in toward her "
    "face as people blur past, their motion emphasizing her calm presence. City lights flicker and "
    "reflections shift across her denim jacket."
)
EXAMPLE_IMAGE = "https://storage.googleapis.com/falserverless/example_inputs/ltxv-2-i2v-input.jpg"
EXAMPLE_VIDEO = {
    "width": 1248,
    "height": 704,
    "num_frames": 257,
    "url": "https://v3b.fal.media/files/b/0a88289e/CJcQGDrxOSRg2YFl5GNDt_glXPMoji.mp4",
    "duration": 10.28,
    "file_name": "CJcQGDrxOSRg2YFl5GNDt_glXPMoji.mp4",
    "fps": 25,
    "content_type": "video/mp4",
}
NEGATIVE_PROMPT = (
    "news broadcast, 3d animation, computer graphics, pc game, console game, video game, cartoon, childish, "
    "watermark, logo, text, on screen text, subtitles, titles, signature, slowmo, static"
)


class Input(BaseModel):
    model_config = CONFIG

    prompt: str = Field(examples=[EXAMPLE_PROMPT], description="The prompt used for the generation.")
    image_url: str = Field(examples=[EXAMPLE_IMAGE], description="The URL of the image to generate the video from.")
    end_image_url: str | None = Field(default=None, description="The URL of the image to use as the end of the video.")
    num_frames: int = Field(default=121, ge=9, le=481, description="The number of frames to generate.")
    video_size: ImageSize | VideoSize = Field(default="auto", description="The size of the generated video.")
    generate_audio: bool = Field(default=True, description="Whether to generate audio for the video.")
    use_multiscale: bool = Field(
        default=True,
        description=(
            "Whether to use multi-scale generation. If True, the model will generate the video at a smaller "
            "scale first, then use the smaller video to guide the generation of a video at or above your "
            "requested size. This results in better coherence and details."
        ),
    )
    fps: float = Field(default=24, ge=1, le=60, description="The frames per second of the generated video.")
    num_inference_steps: int = Field(default=15, ge=8, le=50, description="The number of inference steps to use.")
    video_cfg_scale: float = Field(
        default=3,
        ge=1,
        le=20,
        description=(
            "The Classifier-Free Guidance (CFG) scale for the video. Higher values result in more consistent and "
            "focused video content."
        ),
    )
    video_stg_scale: float = Field(
        default=1,
        ge=0,
        le=20,
        description=(
            "The Spatiotemporal Guidance (STG) scale for the video. Higher values result in more consistent and "
            "focused video content."
        ),
    )
    video_rescaling_scale: float = Field(
        default=0.85,
        ge=0,
        le=1,
        description=(
            "The rescaling scale for the video. Controls the ratio between classifier-free guidance and "
            "spatiotemporal guidance."
        ),
    )
    video_modality_scale: float = Field(
        default=3,
        ge=0,
        le=10,
        description=("The modality scale for the video. Controls the ratio between video and audio modalities."),
    )
    audio_cfg_scale: float = Field(
        default=7,
        ge=1,
        le=20,
        description=(
            "The Classifier-Free Guidance (CFG) scale for the audio. Higher values result in more consistent and "
            "focused audio content."
        ),
    )
    audio_stg_scale: float = Field(
        default=0,
        ge=0,
        le=20,
        description=(
            "The Spatiotemporal Guidance (STG) scale for the audio. Higher values result in more consistent and "
            "focused audio content."
        ),
    )
    audio_rescaling_scale: float = Field(
        default=0.7,
        ge=0,
        le=1,
        description=(
            "The rescaling scale for the audio. Controls the ratio between classifier-free guidance and "
            "spatiotemporal guidance."
        ),
    )
    audio_modality_scale: float = Field(
        default=3,
        ge=0,
        le=10,
        description=("The modality scale for the audio. Controls the ratio between video and audio modalities."),
    )
    gradient_estimation_gamma: float = Field(
        default=0,
        ge=0,
        le=10,
        description="The gamma of gradient estimation during denoising. Set to 0 to disable.",
    )
    use_restart_sampling: bool = Field(
        default=True,
        description=(
            "Whether to use restart sampling. This will inject a small amount of noise during each denoising step, "
            "which can help improve the quality of the generated video."
        ),
    )
    scheduler: Scheduler = Field(default="beta", examples=["beta"], description="The scheduler to use.")
    acceleration: Acceleration = Field(default="none", examples=["none"], description="The acceleration level to use.")
    camera_lora: CameraLora = Field(
        default="none",
        examples=["none"],
        description=(
            "The camera LoRA to use. This allows you to control the camera movement of the generated video "
            "more accurately than just prompting the model to move the camera."
        ),
    )
    camera_lora_scale: float = Field(
        default=1,
        ge=0,
        le=1,
        description=(
            "The scale of the camera LoRA to use. This allows you to control the camera movement of the "
            "generated video more accurately than just prompting the model to move the camera."
        ),
    )
    negative_prompt: str = Field(default=NEGATIVE_PROMPT, description="The negative prompt to generate the video from.")
    seed: int | None = Field(default=None, description="The seed for the random number generator.")
    enable_prompt_expansion: bool = Field(default=True, description="Whether to enable prompt expansion.")
    enable_safety_checker: bool = Field(default=True, description="Whether to enable the safety checker.")
    video_output_type: VideoOutputType = Field(
        default="X264 (.mp4)", description="The output type of the generated video."
    )
    video_quality: VideoQuality = Field(default="high", description="The quality of the generated video.")
    video_write_mode: VideoWriteMode = Field(default="balanced", description="The write mode of the generated video.")
    sync_mode: bool = Field(
        default=False,
        description=(
            "If `True`, the media will be returned as a data URI and the output data won't be available in "
            "the request history."
        ),
    )
    loras: list[LoRAInput] = Field(description="The LoRAs to use for the generation.")
    distill_lora_first_pass_scale: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="The scale of the distill LoRA to use for the first pass. Set to 0 to disable.",
    )
    distill_lora_second_pass_scale: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="The scale of the distill LoRA to use for the second and subsequent passes.",
    )
    interpolation_direction: InterpolationDirection = Field(
        default="forward",
        description=(
            "The direction to interpolate the image sequence in. 'Forward' goes from the start image to the "
            "end image, 'Backward' goes from the end image to the start image."
        ),
    )
    image_strength: float = Field(
        default=1, ge=0, le=1, description="The strength of the image to use for the video generation."
    )
    end_image_strength: float = Field(
        default=1, ge=0, le=1, description="The strength of the end image to use for the video generation."
    )


class Output(BaseModel):
    model_config = CONFIG

    video: VideoFile = Field(examples=[EXAMPLE_VIDEO], description="The generated video.")
    seed: int = Field(examples=[866232447], description="The seed used for the random number generator.")
    prompt: str = Field(
        examples=["Continue the scene naturally, maintaining the same style and motion."],
        description="The prompt used for the generation.",
    )


# What no guidance is, for weights that need none.
UNGUIDED = {
    f"{stream}_{scale}_scale": value
    for stream in ("video", "audio")
    for scale, value in {"cfg": 1, "stg": 0, "rescaling": 0, "modality": 1}.items()
}


def check(request: Input, bounds: Bounds) -> list[Detail]:
    return (
        bounds.text("prompt", request.prompt)
        + bounds.text("negative_prompt", request.negative_prompt)
        + bounds.seed(request.seed)
        + planning.check_size("video_size", request.video_size, request.num_frames, bounds)
        + loras.check("loras", request.loras, bounds)
    )


def plan(request: Input, sizes: Mapping[str, tuple[int, int]], seed: int, model: Model) -> Plan:
    asked, steps, schedule, notes = suited(request, model, UNGUIDED, request.num_inference_steps, request.scheduler)
    chosen = _adapters(request, model)
    first = Sampling(
        steps=steps,
        schedule=schedule,
        video=Guidance(
            cfg=asked.video_cfg_scale,
            stg=asked.video_stg_scale,
            rescale=asked.video_rescaling_scale,
            modality=asked.video_modality_scale,
        ),
        audio=Guidance(
            cfg=asked.audio_cfg_scale,
            stg=asked.audio_stg_scale,
            rescale=asked.audio_rescaling_scale,
            modality=asked.audio_modality_scale,
        ),
        gradient_gamma=request.gradient_estimation_gamma,
        restart=request.use_restart_sampling,
        adapters=adapters.distilled(request.distill_lora_first_pass_scale, model) + chosen,
        notes=notes,
    )
    second = refining(adapters.distilled(request.distill_lora_second_pass_scale, model) + chosen)
    return open_weights.planned(request, sizes, seed, model, first=first, refining=second)


def _adapters(request: Input, model: Model) -> adapters.Adapters:
    camera = adapters.camera(request.camera_lora, request.camera_lora_scale, model)
    return camera + adapters.users("loras", request.loras)


ENDPOINT = Endpoint(
    id="fal-ai/ltx-2.3-22b/image-to-video/lora",
    title="LTX-2.3 22B",
    summary="Generate video with audio from images using LTX-2.3 and custom LoRA",
    model_family="ltx-2.3",
    input=Input,
    output=Output,
    image_fields=("image_url", "end_image_url"),
    aliases={"image_size": "video_size"},
    check=check,
    plan=plan,
    respond=seeded_output,
    loras=lambda request, model: _adapters(request, model).paths,
)
