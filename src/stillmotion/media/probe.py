"""What is in a media file that was written."""

import json
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from stillmotion.job import Media
from stillmotion.media.gif_comment import read_comment
from stillmotion.media.writer import SETTINGS_KEY

BRANDS = {"isom": "video/mp4", "qt  ": "video/quicktime"}
"""Major brand of the file (ISO/IEC 14496-12) to media type, for the containers of ``job.Encoding``."""

PICTURES = {"gif": "image/gif", "png_pipe": "image/png"}
"""FFmpeg's name of a format to media type."""

WEBM_DOCTYPE = b"\x42\x82\x84webm"
"""The element of the first 64 bytes that tells WebM from Matroska (RFC 8794, 11.2.4)."""


def probe_media(path: str | Path) -> Media:
    """Reads the tracks of ``path`` back; no picture is decoded. Raises ValueError for a file without video."""
    path = Path(path)
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError(f"{path.name} holds no video")
        stream = container.streams.video[0]
        num_frames = stream.frames or sum(1 for packet in container.demux(stream) if packet.size)
        rate = _rate(container, stream, num_frames)
        if not rate:
            raise ValueError(f"{path.name} holds no frames")
        return Media(
            width=stream.width,
            height=stream.height,
            num_frames=num_frames,
            fps=float(rate),
            duration=float(num_frames / rate),
            size=path.stat().st_size,
            content_type=_content_type(path, container),
            has_audio=bool(container.streams.audio),
        )


def read_settings(path: str | Path) -> str | None:
    """``Encoding.settings`` as the file holds them: None for a file without, or with a comment that is no JSON.

    Raises ValueError for what is no media file.
    """
    with av.open(str(path)) as container:
        if container.format.name == "gif":
            text = read_comment(path)
        else:
            # Matroska's muxer writes keys in capitals.
            text = {key.lower(): value for key, value in container.metadata.items()}.get(SETTINGS_KEY)
    try:
        json.loads(text or "")
    except ValueError:
        return None
    return text


def _rate(container: InputContainer, stream: VideoStream, num_frames: int) -> Fraction | None:
    """Frames per second; of a GIF, whose pictures last unequally long, the average."""
    if container.format.name == "gif" and stream.duration and stream.time_base:
        return num_frames / (stream.duration * stream.time_base)
    return stream.average_rate


def _content_type(path: Path, container: InputContainer) -> str:
    if picture := PICTURES.get(container.format.name):
        return picture
    if brand := container.metadata.get("major_brand"):
        return BRANDS[brand]
    with path.open("rb") as file:
        return "video/webm" if WEBM_DOCTYPE in file.read(64) else "video/x-matroska"
