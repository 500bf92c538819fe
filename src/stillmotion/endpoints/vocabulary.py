"""Words that the endpoint schemas share: enums and files. No defaults and no descriptions, those differ by endpoint."""

from typing import Literal

from pydantic import BaseModel, Field

VideoSize = Literal["auto", "square_hd", "square", "portrait_4_3", "portrait_16_9", "landscape_4_3", "landscape_16_9"]
Acceleration = Literal["none", "regular", "high", "full"]
CameraLora = Literal["dolly_in", "dolly_out", "dolly_left", "dolly_right", "jib_up", "jib_down", "static", "none"]
VideoOutputType = Literal["X264 (.mp4)", "VP9 (.webm)", "PRORES4444 (.mov)", "GIF (.gif)"]
VideoQuality = Literal["low", "medium", "high", "maximum"]
VideoWriteMode = Literal["fast", "balanced", "small"]
InterpolationDirection = Literal["forward", "backward"]


class ImageSize(BaseModel):
    width: int = Field(default=512, gt=0, description="The width of the generated image.")
    height: int = Field(default=512, gt=0, description="The height of the generated image.")


class VideoFile(BaseModel):
    url: str = Field(description="The URL where the file can be downloaded from.")
    content_type: str | None = Field(default=None, description="The mime type of the file.")
    file_name: str | None = Field(default=None, description="The name of the file.")
    file_size: int | None = Field(default=None, description="The size of the file in bytes.")
    width: int | None = Field(default=None, description="The width of the video.")
    height: int | None = Field(default=None, description="The height of the video.")
    fps: float | None = Field(default=None, description="The FPS of the video.")
    duration: float | None = Field(default=None, description="The duration of the video.")
    num_frames: int | None = Field(default=None, description="The number of frames in the video.")


class SeededVideoOutput(BaseModel):
    video: VideoFile = Field(description="The generated video.")
    seed: int = Field(description="The seed used for the random number generator.")
    prompt: str = Field(description="The prompt used for the generation.")
