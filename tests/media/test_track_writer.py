"""MP4 files, read back with FFmpeg's demuxer and decoders: every frame, its time, its colour, and the sound."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import av
import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from stillmotion.job import Encoding, Media
from stillmotion.media.mp4 import AAC_FRAME, CRF, Mp4Writer
from stillmotion.media.probe import probe_media
from stillmotion.media.pump import Pump
from stillmotion.media.rates import frame_rate
from stillmotion.media.yuv import planar

FAST = Encoding(write_mode="fast")
RATES = [24.0, 25.0, 50.0, 23.976, 29.97, 59.94, 12.5, 24.1]


@pytest.fixture(scope="session")
def pan(photograph: Image.Image) -> np.ndarray:
    """49 planar frames of 96x64 that glide over the photograph."""
    rgb = np.asarray(photograph)
    return planar(np.stack([rgb[i // 2 : i // 2 + 64, i : i + 96] for i in range(49)]))


def sine(seconds: float, sample_rate: int, channels: int = 2, pitch: float = 440) -> np.ndarray:
    wave = 0.3 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * sample_rate)) / sample_rate)
    return np.tile(wave, (channels, 1)).astype(np.float32)


def video_frames(path: Path) -> Iterator[av.VideoFrame]:
    with av.open(str(path)) as container:
        yield from container.decode(video=0)


def sound(path: Path) -> np.ndarray:
    """The samples that a player plays: from time 0 to the end of the track."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        played = np.concatenate([frame.to_ndarray() for frame in container.decode(stream) if frame.pts >= 0], axis=1)
        return played[:, : round(stream.duration * stream.time_base * stream.rate)]


@pytest.mark.parametrize("fps", RATES)
def test_every_frame_has_its_exact_time(tmp_path: Path, pan: np.ndarray, fps: float) -> None:
    rate = frame_rate(fps)
    with Mp4Writer(tmp_path / "v.mp4", 96, 64, rate, FAST, sample_rate=None) as writer:
        writer.write(pan[:30])
        writer.write(pan[30:])
    frames = list(video_frames(tmp_path / "v.mp4"))
    assert [frame.pts * frame.time_base for frame in frames] == [index / rate for index in range(49)]
    with av.open(str(tmp_path / "v.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.average_rate, stream.base_rate, stream.start_time) == (rate, rate, 0)
        assert stream.duration * stream.time_base == 49 / rate


@pytest.mark.parametrize("sample_rate", [24_000, 44_100, 48_000])
@pytest.mark.parametrize("fps", [25.0, 23.976])
@pytest.mark.parametrize("length", [0.0, 0.5, 1.0, 1.5])
def test_sound_ends_with_the_last_picture(
    tmp_path: Path, pan: np.ndarray, sample_rate: int, fps: float, length: float
) -> None:
    """``length`` of what the video lasts: short sound is padded, long sound is cut."""
    duration = float(49 / frame_rate(fps))
    with Mp4Writer(tmp_path / "v.mp4", 96, 64, frame_rate(fps), FAST, sample_rate=sample_rate) as writer:
        writer.write_audio(sine(length * duration, sample_rate))
        writer.write(pan)
    with av.open(str(tmp_path / "v.mp4")) as container:
        stream = container.streams.audio[0]
        assert (stream.start_time, stream.rate, stream.channels) == (0, sample_rate, 2)
        assert abs(float(stream.duration * stream.time_base) - duration) <= AAC_FRAME / sample_rate
    played = sound(tmp_path / "v.mp4")
    heard = round(min(length, 1.0) * duration * sample_rate)
    margin = 2 * AAC_FRAME
    assert np.abs(played[:, heard + margin :]).max(initial=0) < 0.01
    if heard > 2 * margin:
        assert np.abs(played[:, margin : heard - margin]).max() == pytest.approx(0.3, abs=0.03)


def test_sound_is_not_shifted_by_the_encoder(tmp_path: Path, pan: np.ndarray) -> None:
    """AAC begins with a frame of nothing; the edit list hides it, so a click stays where it was."""
    samples = np.zeros((2, 48_000), np.float32)
    samples[:, 24_000:24_040] = 0.9
    with Mp4Writer(tmp_path / "v.mp4", 96, 64, Fraction(25), FAST, sample_rate=48_000) as writer:
        writer.write(pan)
        writer.write_audio(samples)
    played = sound(tmp_path / "v.mp4")
    assert abs(int(np.abs(played[0]).argmax()) - 24_020) < 60


@pytest.mark.parametrize("when", ["before", "between", "after"])
def test_the_tracks_are_interleaved(tmp_path: Path, pan: np.ndarray, when: str) -> None:
    """Whenever the sound is written, no picture in the file is more than a second away from its sound."""
    samples = sine(49 * 4 / 25, 24_000)
    with Mp4Writer(tmp_path / "v.mp4", 96, 64, Fraction(25), FAST, sample_rate=24_000) as writer:
        for part in range(4):
            if when == "between":
                writer.write_audio(np.array_split(samples, 4, axis=1)[part])
            if when == "before" and part == 0:
                writer.write_audio(samples)
            writer.write(pan)
        if when == "after":
            writer.write_audio(samples)
    latest = {"video": 0.0, "audio": 0.0}
    with av.open(str(tmp_path / "v.mp4")) as container:
        packets = [packet for packet in container.demux() if packet.size]
        for packet in sorted(packets, key=lambda packet: packet.pos):
            latest[packet.stream.type] = float(packet.dts * packet.time_base)
            assert abs(latest["video"] - latest["audio"]) <= 1.1


def test_the_file_says_what_its_colours_mean(tmp_path: Path, pan: np.ndarray) -> None:
    with Mp4Writer(tmp_path / "v.mp4", 96, 64, Fraction(25), FAST, sample_rate=None) as writer:
        writer.write(pan)
    with av.open(str(tmp_path / "v.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert context.pix_fmt == "yuv420p"
        # ITU-T H.273: 1 is BT.709 in each of the three tables; range 1 is limited ("tv").
        assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1)
        assert context.color_range == 1


def test_the_index_comes_first(tmp_path: Path, pan: np.ndarray) -> None:
    with Mp4Writer(tmp_path / "v.mp4", 96, 64, Fraction(25), FAST, sample_rate=24_000) as writer:
        writer.write(pan)
    content = (tmp_path / "v.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_the_pictures_are_those_that_were_written(tmp_path: Path, pan: np.ndarray) -> None:
    with Mp4Writer(tmp_path / "v.mp4", 96, 64, Fraction(25), Encoding(quality="maximum"), sample_rate=None) as writer:
        writer.write(pan)
    decoded = np.stack([frame.to_ndarray() for frame in video_frames(tmp_path / "v.mp4")])
    assert np.abs(decoded.astype(float) - pan).mean() < 2


@pytest.mark.parametrize("size", [(96, 64), (96, 66), (98, 62), (102, 70), (130, 98)])
def test_every_even_size_keeps_its_pixels_and_colours(tmp_path: Path, photograph: Image.Image, size: Any) -> None:
    """Heights that are not multiples of four put the chroma planes at an odd place."""
    rgb = np.asarray(photograph.convert("RGB").resize(size))
    with Mp4Writer(tmp_path / "v.mp4", *size, Fraction(25), Encoding(quality="maximum"), sample_rate=None) as writer:
        writer.write(planar(rgb[None]))
    (frame,) = video_frames(tmp_path / "v.mp4")
    difference = np.abs(frame.to_ndarray(format="rgb24").astype(float) - rgb)
    assert difference.mean() < 6
    assert difference[:8].mean() < 8


def test_quality_orders_the_sizes(tmp_path: Path, pan: np.ndarray) -> None:
    def size(encoding: Encoding) -> int:
        with Mp4Writer(tmp_path / "v.mp4", 96, 64, Fraction(25), encoding, sample_rate=None) as writer:
            writer.write(pan)
        return (tmp_path / "v.mp4").stat().st_size

    sizes = [size(Encoding(quality=quality)) for quality in ("low", "medium", "high", "maximum")]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("quality", get_args(Encoding.__annotations__["quality"]))
@pytest.mark.parametrize(("write_mode", "effort"), [("fast", 2), ("balanced", 7), ("small", 8)])
def test_x264_was_told_the_settings(
    tmp_path: Path, pan: np.ndarray, quality: Any, write_mode: Any, effort: int
) -> None:
    """x264 writes its settings into the stream; ``subme`` is 2 in veryfast, 7 in medium and 8 in slow."""
    encoding = Encoding(quality=quality, write_mode=write_mode)
    with Mp4Writer(tmp_path / "v.mp4", 96, 64, Fraction(25), encoding, sample_rate=None) as writer:
        writer.write(pan[:2])
    told = (tmp_path / "v.mp4").read_bytes()
    assert b" crf=%d.0 " % CRF[quality] in told
    assert b" subme=%d " % effort in told


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    width=st.integers(8, 60).map(lambda half: 2 * half),
    height=st.integers(8, 60).map(lambda half: 2 * half),
    chunks=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    fps=st.sampled_from(RATES),
    with_sound=st.booleans(),
)
def test_any_size_and_any_chunks(
    tmp_path: Path, width: int, height: int, chunks: list[int], fps: float, with_sound: bool
) -> None:
    path, rate = tmp_path / "the name does not matter", frame_rate(fps)
    with Mp4Writer(path, width, height, rate, FAST, sample_rate=24_000 if with_sound else None) as writer:
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
        content_type="video/mp4",
        has_audio=with_sound,
    )
    assert sum(1 for _ in video_frames(path)) == count


@pytest.mark.parametrize(("width", "height"), [(97, 64), (96, 63)])
def test_odd_sides_are_refused(tmp_path: Path, width: int, height: int) -> None:
    with pytest.raises(ValueError, match="even"):
        Mp4Writer(tmp_path / "v.mp4", width, height, Fraction(25), FAST, sample_rate=None)


def test_frames_that_do_not_fit_are_refused(tmp_path: Path, pan: np.ndarray) -> None:
    with (
        pytest.raises(ValueError, match="do not fit"),
        Mp4Writer(tmp_path / "v.mp4", 128, 64, Fraction(25), FAST, sample_rate=None) as writer,
    ):
        writer.write(pan)


def test_sound_without_a_track_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="no audio track"),
        Mp4Writer(tmp_path / "v.mp4", 96, 64, Fraction(25), FAST, sample_rate=None) as writer,
    ):
        writer.write_audio(sine(1, 24_000))


def test_a_file_without_frames_is_refused(tmp_path: Path) -> None:
    writer = Mp4Writer(tmp_path / "v.mp4", 96, 64, Fraction(25), FAST, sample_rate=24_000)
    with pytest.raises(ValueError, match="at least one frame"):
        writer.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("count", [1, 49])
def test_a_full_disk_is_an_error_and_not_a_crash(pan: np.ndarray, count: int) -> None:
    """FFmpeg dies of a packet that follows a failed header: whether the first error comes early or at the end."""
    writer = Mp4Writer("/dev/full", 96, 64, Fraction(25), FAST, sample_rate=24_000)

    def fill() -> None:
        for _ in range(count):
            writer.write(pan)
        writer.close()

    with pytest.raises(OSError, match="No space left"):
        fill()
    with pytest.raises(OSError, match="could not be written"):
        writer.write(pan)
    writer.abandon()


def test_an_abandoned_file_is_closed(tmp_path: Path, pan: np.ndarray) -> None:
    writer = Mp4Writer(tmp_path / "v.mp4", 96, 64, Fraction(25), FAST, sample_rate=24_000)
    writer.write(pan)
    writer.abandon()
    assert str(tmp_path / "v.mp4") not in {file.path for file in psutil.Process().open_files()}


def test_the_pump_writes_the_same_file(tmp_path: Path, pan: np.ndarray) -> None:
    with Mp4Writer(tmp_path / "direct.mp4", 96, 64, Fraction(25), FAST, sample_rate=None) as writer:
        writer.write(pan)
    with Pump(Mp4Writer(tmp_path / "pumped.mp4", 96, 64, Fraction(25), FAST, sample_rate=None)) as pump:
        for chunk in np.array_split(pan, 7):
            pump.write(chunk)
    assert (tmp_path / "pumped.mp4").read_bytes() == (tmp_path / "direct.mp4").read_bytes()
    assert pump.busy_seconds > 0


def test_a_file_that_is_no_video_cannot_be_probed(tmp_path: Path, photograph: Image.Image) -> None:
    (tmp_path / "v.mp4").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="Invalid data"):
        probe_media(tmp_path / "v.mp4")
