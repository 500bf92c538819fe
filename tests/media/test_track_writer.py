"""MP4, WebM and QuickTime files, read back: every frame, its time, its colour, and the sound."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from video_files import (
    CONTAINERS,
    QUALITIES,
    TRACK_CONTAINERS,
    WRITE_MODES,
    encoding,
    rgb_frames,
    sine,
    sound,
    video_frames,
    write,
    writer_for,
)

from stillmotion.job import Encoding, Media
from stillmotion.media.codecs import TRACKS, VIDEO
from stillmotion.media.containers import open_writer
from stillmotion.media.probe import probe_media
from stillmotion.media.pump import Pump
from stillmotion.media.rates import frame_rate
from stillmotion.media.yuv import planar

RATES = [1, 23.976, 24, 25, 48, 50, 60, 29.97, 12.5, 24.1]
CONTENT_TYPES = {"mp4": "video/mp4", "webm": "video/webm", "mov": "video/quicktime", "gif": "image/gif"}

in_every_container = pytest.mark.parametrize("container", TRACK_CONTAINERS)


@in_every_container
@pytest.mark.parametrize("fps", RATES)
def test_every_frame_has_its_exact_time(tmp_path: Path, pan: np.ndarray, container: str, fps: float) -> None:
    rate = frame_rate(fps)
    path = tmp_path / "v"
    with writer_for(path, pan, encoding(container), rate) as writer:
        writer.write(pan[:10])
        writer.write(pan[10:25])
    times = [frame.pts * frame.time_base for frame in video_frames(path)]
    # WebM counts in milliseconds, and tells the exact rate beside.
    step = Fraction(1, 1000) if container == "webm" else Fraction(0)
    assert len(times) == 25
    assert all(abs(time - index / rate) <= step / 2 for index, time in enumerate(times))
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        assert (stream.average_rate, stream.start_time) == (rate, 0)
        assert file.duration == pytest.approx(25 / rate * 1_000_000, abs=1000)
    media = probe_media(path)
    assert (media.fps, media.duration) == (float(rate), float(25 / rate))


@in_every_container
@pytest.mark.parametrize("sample_rate", [24_000, 44_100, 48_000])
@pytest.mark.parametrize(("fps", "length"), [(25, 0.0), (23.976, 0.5), (60, 1.0), (23.976, 1.5)])
def test_sound_ends_with_the_last_picture(
    tmp_path: Path, pan: np.ndarray, container: str, sample_rate: int, fps: float, length: float
) -> None:
    """``length`` of what the video lasts: short sound is padded, long sound is cut, to the sample."""
    rate, path = frame_rate(fps), tmp_path / "v"
    duration = float(49 / rate)
    with writer_for(path, pan, encoding(container), rate, sample_rate) as writer:
        writer.write_audio(sine(length * duration, sample_rate))
        writer.write(pan)
    codec = TRACKS[container].audio
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        assert (stream.start_time, stream.channels) == (0, 2)
        assert stream.rate == (codec.sample_rate or sample_rate)
        assert abs(file.duration / 1_000_000 - duration) < 0.01
    played = sound(path)
    assert abs(played.shape[1] / stream.rate - duration) <= 1 / sample_rate
    heard = round(min(length, 1.0) * duration * stream.rate)
    margin = 2 * codec.block
    assert np.abs(played[:, heard + margin :]).max(initial=0) < 0.01
    if heard > 2 * margin:
        assert np.abs(played[:, margin : heard - margin]).max() == pytest.approx(0.3, abs=0.03)


@in_every_container
@pytest.mark.parametrize("sample_rate", [24_000, 48_000])
def test_sound_is_not_shifted(tmp_path: Path, pan: np.ndarray, container: str, sample_rate: int) -> None:
    """AAC and Opus begin with samples of nothing, which the container hides; a click stays where it was."""
    samples = np.zeros((2, sample_rate), np.float32)
    samples[:, sample_rate // 2 : sample_rate // 2 + 40] = 0.9
    path = tmp_path / "v"
    with writer_for(path, pan, encoding(container), sample_rate=sample_rate) as writer:
        writer.write(pan)
        for part in np.array_split(samples, 7, axis=1):
            writer.write_audio(part)
    played = sound(path)
    rate = TRACKS[container].audio.sample_rate or sample_rate
    assert abs(int(np.abs(played[0]).argmax()) / rate - (0.5 + 20 / sample_rate)) < 0.0025


def test_uncompressed_sound_is_what_was_written(tmp_path: Path, pan: np.ndarray) -> None:
    samples = sine(49 / 25, 24_000) * np.array([[1], [-0.5]], np.float32)
    with writer_for(tmp_path / "v", pan, encoding("mov"), sample_rate=24_000) as writer:
        writer.write(pan)
        writer.write_audio(samples)
    assert np.abs(sound(tmp_path / "v") - samples).max() <= 1 / 32768


@in_every_container
@pytest.mark.parametrize("channels", [1, 2])
def test_mono_stays_mono(tmp_path: Path, pan: np.ndarray, container: str, channels: int) -> None:
    how = encoding(container)
    with open_writer(tmp_path / "v", 96, 64, Fraction(25), how, sample_rate=24_000, channels=channels) as writer:
        writer.write_audio(sine(1, 24_000, channels))
        writer.write(pan[:25])
    assert sound(tmp_path / "v").shape[0] == channels


@in_every_container
@pytest.mark.parametrize("when", ["before", "between", "after"])
def test_the_tracks_are_interleaved(tmp_path: Path, pan: np.ndarray, container: str, when: str) -> None:
    """Whenever the sound is written, no picture in the file is more than a second away from its sound."""
    samples = sine(49 * 4 / 25, 24_000)
    with writer_for(tmp_path / "v", pan, encoding(container), sample_rate=24_000) as writer:
        for part in range(4):
            if when == "between":
                writer.write_audio(np.array_split(samples, 4, axis=1)[part])
            if when == "before" and part == 0:
                writer.write_audio(samples)
            writer.write(pan)
        if when == "after":
            writer.write_audio(samples)
    latest = {"video": 0.0, "audio": 0.0}
    with av.open(str(tmp_path / "v")) as file:
        packets = [packet for packet in file.demux() if packet.size]
        for packet in sorted(packets, key=lambda packet: packet.pos):
            latest[packet.stream.type] = float(packet.dts * packet.time_base)
            assert abs(latest["video"] - latest["audio"]) <= 1.1


@pytest.mark.parametrize(
    ("container", "codec", "pixels", "sound_codec"),
    [
        ("mp4", "h264", "yuv420p", "aac"),
        ("webm", "vp9", "yuv420p", "opus"),
        ("mov", "prores", "yuva444p12le", "pcm_s16le"),  # FFmpeg decodes every ProRes 4444 at 12 bits
    ],
)
def test_the_file_says_what_is_in_it(
    tmp_path: Path, pan: np.ndarray, container: str, codec: str, pixels: str, sound_codec: str
) -> None:
    with writer_for(tmp_path / "v", pan, encoding(container), sample_rate=24_000) as writer:
        writer.write(pan)
    with av.open(str(tmp_path / "v")) as file:
        context = file.streams.video[0].codec_context
        assert (context.name, file.streams.audio[0].codec_context.name) == (codec, sound_codec)
        # ITU-T H.273: 1 is BT.709 in each of the three tables; range 1 is limited ("tv").
        assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1)
        assert next(file.decode(video=0)).format.name == pixels
        if container != "mov":  # ProRes is of limited range always
            assert context.color_range == 1


def test_prores_is_opaque_4444(tmp_path: Path, pan: np.ndarray) -> None:
    write(tmp_path / "v", pan[:2], encoding("mov"))
    with av.open(str(tmp_path / "v")) as file:
        assert file.streams.video[0].codec_context.codec_tag == "ap4h"
        assert file.streams.video[0].profile == "4444"
        assert (next(file.decode(video=0)).to_ndarray(format="rgba")[..., 3] == 255).all()


def test_the_index_of_an_mp4_comes_first(tmp_path: Path, pan: np.ndarray) -> None:
    with writer_for(tmp_path / "v", pan, encoding("mp4"), sample_rate=24_000) as writer:
        writer.write(pan)
    content = (tmp_path / "v").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


@in_every_container
@pytest.mark.parametrize("size", [(96, 64), (96, 66), (98, 62), (102, 70), (130, 98)])
def test_every_even_size_keeps_its_pixels_and_colours(
    tmp_path: Path, photograph: Image.Image, container: str, size: Any
) -> None:
    """Heights that are not multiples of four put the chroma planes at an odd place."""
    rgb = np.asarray(photograph.convert("RGB").resize(size))
    write(tmp_path / "v", planar(np.stack([rgb] * 3)), encoding(container, quality="maximum"))
    for decoded in rgb_frames(tmp_path / "v"):
        difference = np.abs(decoded.astype(float) - rgb)
        assert difference.mean() < 6
        for edge in (difference[:8], difference[-8:], difference[:, :4], difference[:, -4:]):
            assert edge.mean() < 8


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize(("write_mode", "effort"), [("fast", 2), ("balanced", 7), ("small", 8)])
def test_x264_was_told_the_settings(
    tmp_path: Path, pan: np.ndarray, quality: Any, write_mode: Any, effort: int
) -> None:
    """x264 writes its settings into the stream; ``subme`` is 2 in veryfast, 7 in medium and 8 in slow."""
    write(tmp_path / "v", pan[:2], Encoding(quality=quality, write_mode=write_mode))
    told = (tmp_path / "v").read_bytes()
    assert b" crf=%s.0 " % VIDEO["mp4"][write_mode][quality]["crf"].encode() in told
    assert b" subme=%d " % effort in told


@in_every_container
@pytest.mark.parametrize("write_mode", WRITE_MODES)
def test_the_same_frames_give_the_same_file(tmp_path: Path, pan: np.ndarray, container: str, write_mode: str) -> None:
    """Over and over: what an encoder reads beside its pictures shows in one of a dozen files or so."""
    files = set()
    for size in range(12 if write_mode == "fast" else 3):
        elsewhere = np.full(1 << (8 + size), size, np.uint8)  # the memory that the encoder gets is not the same
        write(tmp_path / "v", pan.copy(), encoding(container, write_mode=write_mode))
        files.add((tmp_path / "v").read_bytes())
        del elsewhere
    assert len(files) == 1


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    container=st.sampled_from(TRACK_CONTAINERS),
    width=st.integers(8, 60).map(lambda half: 2 * half),
    height=st.integers(8, 60).map(lambda half: 2 * half),
    chunks=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    fps=st.sampled_from(RATES),
    with_sound=st.booleans(),
)
def test_any_size_and_any_chunks(
    tmp_path: Path, container: str, width: int, height: int, chunks: list[int], fps: float, with_sound: bool
) -> None:
    path, rate = tmp_path / "the name does not matter", frame_rate(fps)
    first = np.empty((1, height * 3 // 2, width), np.uint8)
    with writer_for(path, first, encoding(container), rate, 24_000 if with_sound else None) as writer:
        for index, count in enumerate(chunks):
            writer.write(np.full((count, height * 3 // 2, width), 60 + 40 * index, np.uint8))
    count = sum(chunks)
    assert probe_media(path) == Media(
        width=width,
        height=height,
        num_frames=count,
        fps=float(rate),
        duration=float(count / rate),
        size=path.stat().st_size,
        content_type=CONTENT_TYPES[container],
        has_audio=with_sound,
    )
    assert sum(1 for _ in video_frames(path)) == count


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(("width", "height"), [(97, 64), (96, 63)])
def test_odd_sides_are_refused(tmp_path: Path, container: str, width: int, height: int) -> None:
    with pytest.raises(ValueError, match="even"):
        open_writer(tmp_path / "v", width, height, Fraction(25), encoding(container), sample_rate=None)
    assert not (tmp_path / "v").exists()


@pytest.mark.parametrize("container", CONTAINERS)
def test_frames_that_do_not_fit_are_refused(tmp_path: Path, pan: np.ndarray, container: str) -> None:
    with (
        pytest.raises(ValueError, match="do not fit"),
        writer_for(tmp_path / "v", pan, encoding(container)) as writer,
    ):
        writer.write(pan[..., :64])


@in_every_container
def test_sound_that_does_not_fit_is_refused(tmp_path: Path, pan: np.ndarray, container: str) -> None:
    for rate, match in ((None, "no audio track"), (24_000, "2 channels")):
        writer = writer_for(tmp_path / "v", pan, encoding(container), sample_rate=rate)
        with pytest.raises(ValueError, match=match):
            writer.write_audio(sine(1, 24_000, channels=1))
        writer.abandon()


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_file_without_frames_is_refused(tmp_path: Path, pan: np.ndarray, container: str) -> None:
    writer = writer_for(tmp_path / "v", pan, encoding(container), sample_rate=24_000)
    with pytest.raises(ValueError, match="at least one frame"):
        writer.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("count", [1, 25])
def test_a_full_disk_is_an_error_and_not_a_crash(pan: np.ndarray, container: str, count: int) -> None:
    """FFmpeg dies of a packet that follows a failed header: whether the first error comes early or at the end."""
    writer = writer_for(Path("/dev/full"), pan, encoding(container), sample_rate=24_000)

    def fill() -> None:
        for _ in range(count):
            writer.write(pan)
        writer.close()

    with pytest.raises(OSError, match="No space left"):
        fill()
    # EOFError is the encoder's, which had been told of the end.
    with pytest.raises((OSError, EOFError)):
        writer.write(pan)
    writer.abandon()


@pytest.mark.parametrize("container", CONTAINERS)
def test_an_abandoned_file_is_closed(tmp_path: Path, pan: np.ndarray, container: str) -> None:
    writer = writer_for(tmp_path / "v", pan, encoding(container), sample_rate=24_000)
    writer.write(pan)
    writer.abandon()
    assert str(tmp_path / "v") not in {file.path for file in psutil.Process().open_files()}


@pytest.mark.parametrize("container", CONTAINERS)
def test_the_pump_writes_the_same_file(tmp_path: Path, pan: np.ndarray, container: str) -> None:
    write(tmp_path / "direct", pan, encoding(container))
    with Pump(writer_for(tmp_path / "pumped", pan, encoding(container))) as pump:
        for chunk in np.array_split(pan, 7):
            pump.write(chunk)
    assert (tmp_path / "pumped").read_bytes() == (tmp_path / "direct").read_bytes()
    assert pump.busy_seconds > 0


def test_a_file_that_is_no_video_cannot_be_probed(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="Invalid data"):
        probe_media(tmp_path / "v.mp4")
