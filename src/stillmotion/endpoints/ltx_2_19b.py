"""fal-ai/ltx-2-19b/image-to-video."""

from collections.abc import Mapping

from pydantic import BaseModel, Field

from stillmotion.endpoints import adapters, open_weights, planning
from stillmotion.endpoints.bounds import Bounds
from stillmotion.endpoints.endpoint import Endpoint, Plan, seeded_output
from stillmotion.endpoints.sampling import Sampling, refining, suited
from stillmotion.endpoints.vocabulary import (
    CONFIG,
    Acceleration,
    CameraLora,
    ImageSize,
    InterpolationDirection,
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
    "num_frames": 257,
    "file_name": "CJcQGDrxOSRg2YFl5GNDt_glXPMoji.mp4",
    "fps": 25,
    "content_type": "video/mp4",
    "height": 704,
    "duration": 10.28,
    "url": "https://v3b.fal.media/files/b/0a88289e/CJcQGDrxOSRg2YFl5GNDt_glXPMoji.mp4",
    "width": 1248,
}
# Character for character, the missing space before "incorrect dialogue" included.
NEGATIVE_PROMPT = (
    "blurry, out of focus, overexposed, underexposed, low contrast, washed out colors, excessive noise, "
    "grainy texture, poor lighting, flickering, motion blur, distorted proportions, unnatural skin "
    "tones, deformed facial features, asymmetrical face, missing facial features, extra limbs, "
    "disfigured hands, wrong hand count, artifacts around text, inconsistent perspective, camera shake, "
    "incorrect depth of field, background too sharp, background clutter, distracting reflections, harsh "
    "shadows, inconsistent lighting direction, color banding, cartoonish rendering, 3D CGI look, "
    "unrealistic materials, uncanny valley effect, incorrect ethnicity, wrong gender, exaggerated "
    "expressions, wrong gaze direction, mismatched lip sync, silent or muted audio, distorted voice, "
    "robotic voice, echo, background noise, off-sync audio,incorrect dialogue, added dialogue, "
    "repetitive speech, jittery movement, awkward pauses, incorrect timing, unnatural transitions, "
    "inconsistent framing, tilted camera, flat lighting, inconsistent tone, cinematic oversaturation, "
    "stylized filters, or AI artifacts."
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
    fps: float = Field(default=25, ge=1, le=60, description="The frames per second of the generated video.")
    guidance_scale: float = Field(default=3, ge=1, le=10, description="The guidance scale to use.")
    num_inference_steps: int = Field(default=40, ge=8, le=50, description="The number of inference steps to use.")
    acceleration: Acceleration = Field(
        default="regular", examples=["regular"], description="The acceleration level to use."
    )
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


DISTILLED_SCALE = 1.0
"""Of the distilled LoRA in the refining stages, for which the document has no field.

At 1 the development weights become the distilled ones, for which the refinement's noise levels were made; Diffusers'
two-stage recipe for LTX-2 has it at 1 as well.
"""


def check(request: Input, bounds: Bounds) -> list[Detail]:
    return (
        bounds.text("prompt", request.prompt)
        + bounds.text("negative_prompt", request.negative_prompt)
        + bounds.seed(request.seed)
        + planning.check_size("video_size", request.video_size, request.num_frames, bounds)
    )


def plan(request: Input, sizes: Mapping[str, tuple[int, int]], seed: int, model: Model) -> Plan:
    asked, steps, schedule, notes = suited(request, model, {"guidance_scale": 1}, request.num_inference_steps, "ltx2")
    # The document has one scale; the open weights take it for both streams.
    guidance = Guidance(cfg=asked.guidance_scale)
    chosen = _adapters(request, model)
    first = Sampling(steps=steps, schedule=schedule, video=guidance, audio=guidance, adapters=chosen, notes=notes)
    second = refining(adapters.distilled(DISTILLED_SCALE, model) + chosen)
    return open_weights.planned(request, sizes, seed, model, first=first, refining=second)


def _adapters(request: Input, model: Model) -> adapters.Adapters:
    return adapters.camera(request.camera_lora, request.camera_lora_scale, model)


ENDPOINT = Endpoint(
    id="fal-ai/ltx-2-19b/image-to-video",
    title="LTX-2 19B",
    summary="Generate video with audio from images using LTX-2",
    model_family="ltx-2",
    input=Input,
    output=Output,
    image_fields=("image_url", "end_image_url"),
    aliases={"image_size": "video_size"},
    check=check,
    plan=plan,
    respond=seeded_output,
    loras=lambda request, model: _adapters(request, model).paths,
)
