"""fal-ai/ltx-2-19b/image-to-video."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from stillmotion.endpoints import canvas
from stillmotion.endpoints.bounds import Bounds
from stillmotion.endpoints.endpoint import Endpoint, Plan, seeded_output
from stillmotion.endpoints.vocabulary import (
    Acceleration,
    CameraLora,
    ImageSize,
    InterpolationDirection,
    SeededVideoOutput,
    VideoOutputType,
    VideoQuality,
    VideoSize,
    VideoWriteMode,
)
from stillmotion.errors import Detail
from stillmotion.job import Encoding, Guidance, Job, Keyframe, Model, Stage

EXAMPLE_PROMPT = (
    "A woman stands still amid a busy neon-lit street at night. The camera slowly dollies in toward her "
    "face as people blur past, their motion emphasizing her calm presence. City lights flicker and "
    "reflections shift across her denim jacket."
)
EXAMPLE_IMAGE = "https://storage.googleapis.com/falserverless/example_inputs/ltxv-2-i2v-input.jpg"
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
    # The documents print whole defaults for float fields; validated, they reach plan() as floats.
    model_config = ConfigDict(validate_default=True)

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


# Accepted and validated, not yet honoured: each entry with the value at which leaving it out changes nothing.
NOT_YET_HONOURED: Mapping[str, object] = {
    "end_image_url": None,
    "use_multiscale": False,
    "acceleration": "none",
    "camera_lora": "none",
    "enable_prompt_expansion": False,
    "enable_safety_checker": False,
    "video_output_type": "X264 (.mp4)",
    "sync_mode": False,
}


def check(request: Input, bounds: Bounds) -> list[Detail]:
    found = bounds.text("prompt", request.prompt) + bounds.text("negative_prompt", request.negative_prompt)
    if isinstance(request.video_size, ImageSize):
        found += bounds.size("video_size", request.video_size.width, request.video_size.height)
    return found


def plan(request: Input, sizes: Mapping[str, tuple[int, int]], seed: int, model: Model) -> Plan:
    wanted = _wanted(request.video_size, sizes["image_url"])
    width, height = canvas.even(wanted)
    grid = canvas.grid((width, height), request.num_frames, request.fps, model)
    # The document has one scale; the open weights take it for both streams.
    guidance = Guidance(cfg=request.guidance_scale)
    job = Job(
        model=model.name,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        width=width,
        height=height,
        num_frames=request.num_frames,
        fps=request.fps,
        seed=seed,
        audio=request.generate_audio,
        keyframes=(Keyframe(image="image_url", frame=0, strength=request.image_strength),),
        stages=(
            Stage(
                width=grid.width,
                height=grid.height,
                num_frames=grid.num_frames,
                fps=grid.fps,
                steps=request.num_inference_steps,
                video=guidance,
                audio=guidance,
            ),
        ),
    )
    encoding = Encoding(quality=request.video_quality, write_mode=request.video_write_mode)
    return Plan(job, encoding, tuple(_notes(request, wanted, job)))


def _wanted(size: ImageSize | VideoSize, image: tuple[int, int]) -> tuple[int, int]:
    if isinstance(size, ImageSize):
        return size.width, size.height
    return canvas.auto_size(image) if size == "auto" else canvas.NAMED_SIZES[size]


def _notes(request: Input, wanted: tuple[int, int], job: Job) -> list[str]:
    stage, notes = job.stages[0], []
    if wanted != (job.width, job.height):
        notes.append(f"{wanted[0]}x{wanted[1]} has an odd side; delivering {job.width}x{job.height}")
    if stage.width < job.width or stage.height < job.height or stage.num_frames < job.num_frames:
        notes.append(
            f"model {job.model} computes {stage.width}x{stage.height} and {stage.num_frames} frames, "
            f"scaled to {job.width}x{job.height} and {job.num_frames} frames"
        )
    ignored = [name for name, neutral in NOT_YET_HONOURED.items() if getattr(request, name) != neutral]
    if ignored:
        notes.append(f"accepted but not yet honoured: {', '.join(ignored)}")
    return notes


ENDPOINT = Endpoint(
    id="fal-ai/ltx-2-19b/image-to-video",
    title="LTX-2 19B",
    summary="Generate video with audio from images using LTX-2",
    input=Input,
    output=SeededVideoOutput,
    image_fields=("image_url",),
    check=check,
    plan=plan,
    respond=seeded_output,
)
