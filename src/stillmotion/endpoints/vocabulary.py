"""Words that the endpoint schemas share: enums, files, leniency. Defaults and descriptions differ by endpoint."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

VideoSize = Literal["auto", "square_hd", "square", "portrait_4_3", "portrait_16_9", "landscape_4_3", "landscape_16_9"]
Resolution = Literal["1080p", "1440p", "2160p"]
AspectRatio = Literal["auto", "16:9", "9:16"]
Scheduler = Literal["ltx2", "linear_quadratic", "beta"]
Acceleration = Literal["none", "regular", "high", "full"]
CameraLora = Literal["dolly_in", "dolly_out", "dolly_left", "dolly_right", "jib_up", "jib_down", "static", "none"]
VideoOutputType = Literal["X264 (.mp4)", "VP9 (.webm)", "PRORES4444 (.mov)", "GIF (.gif)"]
VideoQuality = Literal["low", "medium", "high", "maximum"]
VideoWriteMode = Literal["fast", "balanced", "small"]
InterpolationDirection = Literal["forward", "backward"]

_CAPITALS = {"url": "URL", "fps": "FPS", "cfg": "CFG", "stg": "STG", "lora": "LoRA", "loras": "LoRAs"}


def _title(name: str, _: object) -> str:
    """``camera_lora`` is titled "Camera LoRA": the documents name a field's enum after its title (CameraLoRAEnum)."""
    return " ".join(_CAPITALS.get(word, word.capitalize()) for word in name.split("_"))


# The documents print whole defaults for float fields; validated, they reach plan() as floats.
CONFIG = ConfigDict(validate_default=True, allow_inf_nan=False, field_title_generator=_title)


def _whole(value: Any) -> Any:
    """``"25"`` and ``25.0`` for 25: what clients send where the documents show an enum of whole numbers."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _seconds(value: Any) -> Any:
    """``"6s"`` too, which the Vercel AI SDK sends."""
    return _whole(value.removesuffix("s") if isinstance(value, str) else value)


WholeNumber = BeforeValidator(_whole)
Duration = Annotated[Literal[6, 8, 10], BeforeValidator(_seconds)]


class ImageSize(BaseModel):
    model_config = CONFIG

    width: int = Field(default=512, description="The width of the generated image.")
    height: int = Field(default=512, description="The height of the generated image.")


class LoRAInput(BaseModel):
    model_config = CONFIG

    path: str = Field(description="URL of the LoRA weights, or the id of a Hugging Face repository that holds them.")
    scale: float = Field(default=1, description="The scale at which the LoRA is applied.")


class File(BaseModel):
    # The examples are the documents' own: those of a picture, whatever the file is.
    model_config = CONFIG

    url: str = Field(description="The URL where the file can be downloaded from.")
    content_type: str | None = Field(default=None, examples=["image/png"], description="The mime type of the file.")
    file_name: str | None = Field(
        default=None,
        examples=["z9RV14K95DvU.png"],
        description="The name of the file. It will be auto-generated if not provided.",
    )
    file_size: int | None = Field(default=None, examples=[4404019], description="The size of the file in bytes.")


class VideoFile(File):
    width: int | None = Field(default=None, description="The width of the video")
    height: int | None = Field(default=None, description="The height of the video")
    fps: float | None = Field(default=None, description="The FPS of the video")
    duration: float | None = Field(default=None, description="The duration of the video")
    num_frames: int | None = Field(default=None, description="The number of frames in the video")
