"""fal-ai/ltx-2/image-to-video."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from stillmotion.endpoints import pro
from stillmotion.endpoints.endpoint import Endpoint, video_output
from stillmotion.endpoints.ltx_2_19b import DISTILLED_SCALE, NEGATIVE_PROMPT
from stillmotion.endpoints.vocabulary import CONFIG, Duration, Resolution, VideoFile, WholeNumber

EXAMPLE_PROMPT = (
    "A woman stands still amid a busy neon-lit street at night. The camera slowly dollies in toward her "
    "face as people blur past, their motion emphasizing her calm presence. City lights flicker and "
    "reflections shift across her denim jacket."
)
EXAMPLE_IMAGE = "https://storage.googleapis.com/falserverless/example_inputs/ltxv-2-i2v-input.jpg"
EXAMPLE_VIDEO = {
    "content_type": "video/mp4",
    "url": "https://storage.googleapis.com/falserverless/example_outputs/ltxv-2-i2v-output.mp4",
    "file_name": "ltxv-2-i2v-output.mp4",
}


class Input(BaseModel):
    model_config = CONFIG

    image_url: str = Field(
        examples=[EXAMPLE_IMAGE],
        description=(
            "URL of the image to generate the video from. Must be publicly accessible or base64 data URI. Supports "
            "PNG, JPEG, WebP, AVIF, and HEIF formats."
        ),
    )
    prompt: str = Field(examples=[EXAMPLE_PROMPT], description="The prompt to generate the video from")
    duration: Duration = Field(default=6, description="The duration of the generated video in seconds")
    resolution: Resolution = Field(default="1080p", description="The resolution of the generated video")
    fps: Annotated[Literal[25, 50], WholeNumber] = Field(
        default=25, title="Frames per Second", description="The frames per second of the generated video"
    )
    generate_audio: bool = Field(default=True, description="Whether to generate audio for the generated video")


class Output(BaseModel):
    model_config = CONFIG

    video: VideoFile = Field(examples=[EXAMPLE_VIDEO], description="The generated video file")


# The 19b document's steps and negative prompt, and its recipe's refinement: it documents this family's open weights.
RECIPE = pro.Recipe(steps=40, negative_prompt=NEGATIVE_PROMPT, distilled_scale=DISTILLED_SCALE)

ENDPOINT = Endpoint(
    id="fal-ai/ltx-2/image-to-video",
    title="LTX Video 2.0 Pro",
    summary="Create high-fidelity video with audio from images with LTX-2 Pro",
    model_family="ltx-2",
    input=Input,
    output=Output,
    image_fields=("image_url",),
    check=pro.check,
    plan=pro.planner(RECIPE),
    respond=video_output,
)
