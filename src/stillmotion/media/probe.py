"""What is in a media file that was written."""

from pathlib import Path

import av

from stillmotion.job import Media

CONTENT_TYPES = {"isom": "video/mp4"}
"""Major brand of the file (ISO/IEC 14496-12) to media type, for the containers of ``job.Encoding``."""


def probe_media(path: str | Path) -> Media:
    """Reads the tracks of ``path`` back; no picture is decoded. Raises ValueError for a file without video."""
    path = Path(path)
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError(f"{path.name} holds no video")
        stream = container.streams.video[0]
        num_frames = stream.frames or sum(1 for packet in container.demux(stream) if packet.size)
        rate = stream.average_rate
        if not rate or not num_frames:
            raise ValueError(f"{path.name} holds no frames")
        return Media(
            width=stream.width,
            height=stream.height,
            num_frames=num_frames,
            fps=float(rate),
            duration=float(num_frames / rate),
            size=path.stat().st_size,
            content_type=CONTENT_TYPES[container.metadata["major_brand"]],
            has_audio=bool(container.streams.audio),
        )
