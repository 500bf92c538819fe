"""fal-ai/ltx-2.3/image-to-video."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from stillmotion.endpoints import pro
from stillmotion.endpoints.endpoint import Endpoint, video_output
from stillmotion.endpoints.ltx_2_3_22b_lora import NEGATIVE_PROMPT
from stillmotion.endpoints.vocabulary import CONFIG, AspectRatio, Duration, Resolution, VideoFile, WholeNumber

EXAMPLE_PROMPT = (
    "Periscope-level shot from behind tall grass of two Maasai warriors mid-leap during an adumu jumping dance, "
    "bodies fully airborne against a golden savanna sunset, red shuka robes frozen in motion, dust kicked up from "
    "the earth catching backlight, 85mm f/1.4 isolating the pair from a blurred circle of onlookers, Steve McCurry "
    "meets Emmanuel Lubezki"
)
EXAMPLE_IMAGE = "https://v3b.fal.media/files/b/0a90dd31/uJG2pMMJMcnVeC4PmwnAF_image_004.png"
EXAMPLE_VIDEO = {
    "file_name": "VUCTD0YYJIp_K4qQkkneL_wMVDWNRn.mp4",
    "content_type": "video/mp4",
    "url": "https://v3b.fal.media/files/b/0a90dd31/VUCTD0YYJIp_K4qQkkneL_wMVDWNRn.mp4",
}


class Input(BaseModel):
    model_config = CONFIG

    image_url: str = Field(
        examples=[EXAMPLE_IMAGE], description="The URL of the start image to use for the generated video."
    )
    end_image_url: str | None = Field(
        default=None,
        description=(
            "The URL of the end image to use for the generated video. When provided, generates a transition video "
            "between start and end frames."
        ),
    )
    prompt: str = Field(examples=[EXAMPLE_PROMPT], description="The prompt to use for the generated video")
    duration: Duration = Field(default=6, description="The duration of the generated video in seconds")
    resolution: Resolution = Field(default="1080p", description="The resolution of the generated video")
    aspect_ratio: AspectRatio = Field(
        default="auto",
        description=(
            "The aspect ratio of the generated video. If 'auto', the aspect ratio will be determined automatically "
            "based on the input image."
        ),
    )
    fps: Annotated[Literal[24, 25, 48, 50], WholeNumber] = Field(
        default=25, title="Frames per Second", description="The frames per second of the generated video"
    )
    generate_audio: bool = Field(default=True, description="Whether to generate audio for the generated video")


class Output(BaseModel):
    model_config = CONFIG

    video: VideoFile = Field(examples=[EXAMPLE_VIDEO], description="The generated video file")


# The published recipe's steps, the 22b document's negative prompt and default scale of the refinement.
RECIPE = pro.Recipe(steps=30, negative_prompt=NEGATIVE_PROMPT, distilled_scale=0.5)

ENDPOINT = Endpoint(
    id="fal-ai/ltx-2.3/image-to-video",
    title="LTX 2.3 Video Pro",
    summary=(
        "LTX-2.3 is a high-quality, fast AI video model available in Pro and Fast variants for text-to-video, "
        "image-to-video, and audio-to-video."
    ),
    model_family="ltx-2.3",
    input=Input,
    output=Output,
    image_fields=("image_url", "end_image_url"),
    check=pro.check,
    plan=pro.planner(RECIPE),
    respond=video_output,
)
