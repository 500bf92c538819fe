"""Every enum value of every field of every endpoint makes a file that is what was promised."""

import io
import typing
from concurrent.futures import ThreadPoolExecutor

import av
import pytest
from PIL import Image, ImageSequence

from serving import data_uri, picture, serving
from stillmotion.endpoints.catalogue import CATALOGUE

OPEN = {
    "fal-ai/ltx-2-19b/image-to-video": ("video_size", "fps", {}),
    "fal-ai/ltx-2.3-22b/image-to-video/lora": ("video_size", "fps", {"loras": []}),
    "fal-ai/ltx-2.3-quality/image-to-video": ("resolution", "frames_per_second", {}),
}
NAMED = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
    "auto": (1152, 768),  # of the 3:2 picture that is sent
}
TIERS = {"1080p": (1920, 1080), "1440p": (2560, 1440), "2160p": (3840, 2160)}
# Together all values of the Pro endpoints, each tier once at its full size: aspect, duration, resolution, fps.
PRO = [
    ("fal-ai/ltx-2/image-to-video", None, 6, "1080p", 50),
    ("fal-ai/ltx-2/image-to-video", None, "8", "1080p", "25"),
    ("fal-ai/ltx-2/image-to-video", None, "10s", "1080p", 25),
    ("fal-ai/ltx-2/image-to-video", None, 6, "1440p", 25),
    ("fal-ai/ltx-2.3/image-to-video", "auto", 6, "2160p", 24),
    ("fal-ai/ltx-2.3/image-to-video", "16:9", 8, "1080p", 50),
    ("fal-ai/ltx-2.3/image-to-video", "9:16", 6, "1080p", 48),
    ("fal-ai/ltx-2.3/image-to-video", "9:16", 10, "1080p", 25),
]
CONTAINERS = {
    "X264 (.mp4)": ("video/mp4", "h264", "aac"),
    "VP9 (.webm)": ("video/webm", "vp9", "opus"),
    "PRORES4444 (.mov)": ("video/quicktime", "prores", "pcm_s16le"),
    "GIF (.gif)": ("image/gif", "gif", None),
}


def enum_values():
    """(endpoint, field, value) of every field whose type lists its values."""
    for id in OPEN:
        for name, field in CATALOGUE[id].input.model_fields.items():
            kinds = [field.annotation, *typing.get_args(field.annotation)]
            for kind in kinds:
                if typing.get_origin(kind) is typing.Literal:
                    yield from ((id, name, value) for value in typing.get_args(kind))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("options"), mock_seconds=0.01, mock_slots=2) as server:
        yield server


@pytest.fixture(scope="module")
def made(server):
    """The answer and the file of every option, made two at a time by one server."""

    def make(option):
        id, fields = option
        with server.client(headers={}) as client:
            answer = client.post(f"/run/{id}", json=fields, timeout=300)
            assert answer.status_code == 200, (id, fields, answer.text)
            return answer.json(), client.get(answer.json()["video"]["url"]).content

    image = data_uri(picture(150, 100))
    options = {}
    for id, name, value in enum_values():
        size, _, more = OPEN[id]
        base = {"prompt": "a test", "image_url": image, "num_frames": 9, size: {"width": 64, "height": 64}}
        options[id, name, value] = (id, {**base, **more, "video_write_mode": "fast", name: value})
    for id, aspect, duration, resolution, fps in PRO:
        fields = {"prompt": "a test", "image_url": image, "duration": duration, "resolution": resolution, "fps": fps}
        options[id, aspect, duration, resolution, fps] = (id, fields | ({"aspect_ratio": aspect} if aspect else {}))
    with ThreadPoolExecutor(3) as threads:
        return dict(zip(options, threads.map(make, options.values()), strict=True))


def probe(content):
    if content.startswith(b"GIF"):
        # FFmpeg guesses a GIF's rate from its first delays, which are rounded to hundredths of a second.
        with Image.open(io.BytesIO(content)) as image:
            frames = ImageSequence.all_frames(image)
            seconds = sum(frame.info["duration"] for frame in frames) / 1000
            return image.size, len(frames) / seconds, len(frames), "gif", []
    with av.open(io.BytesIO(content)) as container:
        stream = container.streams.video[0]
        size, rate = (stream.width, stream.height), stream.average_rate
        video, audio = stream.codec_context.name, [other.codec_context.name for other in container.streams.audio]
        return size, float(rate), sum(1 for packet in container.demux(stream) if packet.size), video, audio


@pytest.mark.parametrize(("id", "name", "value"), list(enum_values()))
def test_an_option_of_the_open_endpoints(made, id, name, value):
    output, content = made[id, name, value]
    size_field, _, _ = OPEN[id]
    size, rate, frames, video, audio = probe(content)
    fps = {"fal-ai/ltx-2-19b/image-to-video": 25}.get(id, 24)
    assert size == (NAMED[value] if name == size_field else (64, 64))
    assert rate == pytest.approx(fps, rel=0.02 if value == "GIF (.gif)" else 1e-6)
    assert frames == 9
    type, video_codec, audio_codec = CONTAINERS[value if name == "video_output_type" else "X264 (.mp4)"]
    assert output["video"]["content_type"] == type
    assert video_codec in video
    assert audio == ([audio_codec] if audio_codec else [])
    told = output["video"]
    assert (told["width"], told["height"], told["num_frames"], told["file_size"]) == (*size, frames, len(content))
    assert told["fps"] == pytest.approx(rate, rel=1e-3)


@pytest.mark.parametrize("option", PRO, ids=str)
def test_an_option_of_the_pro_endpoints(made, option):
    _, aspect, duration, resolution, fps = option
    output, content = made[option]
    size, rate, frames, _, audio = probe(content)
    wide = TIERS[resolution]
    assert size == (wide[::-1] if aspect == "9:16" else wide)
    assert rate == float(fps)
    assert frames == int(str(duration).removesuffix("s")) * int(fps)
    assert audio == ["aac"]
    assert set(output) == {"video"}
