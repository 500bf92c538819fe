"""HEIC files, made here box by box (ISO/IEC 23008-12 and 14496-12): nothing in the environment writes them."""

import io
from fractions import Fraction

import av
import numpy as np
from PIL import Image


def heic(
    picture: Image.Image,
    *,
    brand: bytes = b"heic",
    quarter_turns: int = 0,
    mirror: int | None = None,
    exif: bytes | None = None,
    told: tuple[int, int] | None = None,
) -> bytes:
    """``picture``, to be turned anticlockwise and mirrored when shown; ``told`` is a size other than the true one."""
    configuration, coded = _hevc(picture)
    width, height = told or picture.size
    properties = [
        _box(b"hvcC", configuration),
        _full_box(b"ispe", width.to_bytes(4) + height.to_bytes(4)),
        *([_box(b"irot", bytes([quarter_turns]))] if quarter_turns else []),
        *([_box(b"imir", bytes([mirror]))] if mirror is not None else []),
    ]
    items = [(b"hvc1", coded)]
    if exif is not None:
        items.append((b"Exif", (6).to_bytes(4) + b"Exif\0\0" + exif))
    head = _box(b"ftyp", brand + bytes(4) + b"mif1" + brand)
    start = len(head) + len(_meta(properties, items, 0)) + 8
    return head + _meta(properties, items, start) + _box(b"mdat", b"".join(data for _, data in items))


def _hevc(picture: Image.Image) -> tuple[bytes, bytes]:
    """The decoder's configuration and one coded picture, taken out of an MP4 file."""
    rgb = np.asarray(picture.convert("RGB"))
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        options = {"x265-params": "log-level=none:crf=8:bframes=0"}
        stream = container.add_stream("libx265", rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = *rgb.shape[:2], "yuv420p"
        stream.codec_context.codec_tag = "hvc1"
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        container.mux([*stream.encode(frame), *stream.encode(None)])
    content = file.getvalue()
    with av.open(io.BytesIO(content)) as container:
        coded = next(bytes(packet) for packet in container.demux(video=0) if packet.size)
    at = content.index(b"hvcC")
    return content[at + 4 : at - 4 + int.from_bytes(content[at - 4 : at])], coded


def _meta(properties: list[bytes], items: list[tuple[bytes, bytes]], start: int) -> bytes:
    locations, infos = b"", b""
    for number, (kind, data) in enumerate(items, 1):
        locations += _u16(number, 0, 1) + start.to_bytes(4) + len(data).to_bytes(4)
        infos += _full_box(b"infe", _u16(number, 0) + kind + b"\0", version=2)
        start += len(data)
    references = _full_box(b"iref", _box(b"cdsc", _u16(2, 1, 1))) if len(items) > 1 else b""
    # What turns a picture must be understood (bit 7); the size need not.
    ties = bytes([(0 if at == 2 else 0x80) | at for at in range(1, len(properties) + 1)])
    association = (1).to_bytes(4) + _u16(1) + bytes([len(ties)]) + ties
    return _full_box(
        b"meta",
        _full_box(b"hdlr", bytes(4) + b"pict" + bytes(13))
        + _full_box(b"pitm", _u16(1))
        + _full_box(b"iloc", b"\x44\x00" + _u16(len(items)) + locations)
        + _full_box(b"iinf", _u16(len(items)) + infos)
        + references
        + _box(b"iprp", _box(b"ipco", b"".join(properties)) + _full_box(b"ipma", association)),
    )


def _box(name: bytes, content: bytes) -> bytes:
    return (8 + len(content)).to_bytes(4) + name + content


def _full_box(name: bytes, content: bytes, *, version: int = 0) -> bytes:
    return _box(name, bytes([version, 0, 0, 0]) + content)


def _u16(*values: int) -> bytes:
    return b"".join(value.to_bytes(2) for value in values)
