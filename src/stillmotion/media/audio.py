"""The audio track of a file."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet

from stillmotion.media.codecs import AudioCodec

Samples = npt.NDArray[np.float32]


class AudioTrack:
    """Holds sound back until the pictures have reached it, so that the file is interleaved."""

    def __init__(
        self,
        container: OutputContainer,
        mux: Callable[[Sequence["Packet[Any]"]], None],
        codec: AudioCodec,
        *,
        sample_rate: int,
        channels: int,
    ) -> None:
        self._mux, self._codec, self._channels = mux, codec, channels
        self._layout = {1: "mono", 2: "stereo"}[channels]
        self._source_rate, self._rate = sample_rate, codec.sample_rate or sample_rate
        self._resample = _Resampler(sample_rate, self._rate, self._layout)
        stream = container.add_stream(codec.name, rate=self._rate, layout=self._layout)
        assert isinstance(stream, AudioStream)
        self._stream = stream
        self._stream.codec_context.format = av.AudioFormat(codec.samples)
        if codec.bits_per_channel is not None:
            self._stream.bit_rate = codec.bits_per_channel * channels
        self._waiting: deque[Samples] = deque()
        """As it was given: no copy of a whole clip's sound is made."""
        self._taken = 0
        """Samples that have left ``_waiting``."""
        self._ready: Samples = np.zeros((channels, 0), np.float32)
        """At the track's own rate, less than what is due plus a block."""
        self._encoded = 0

    def append(self, samples: Samples) -> None:
        """``(channels, samples)`` at the sound's own rate."""
        if samples.ndim != 2 or samples.shape[0] != self._channels:
            raise ValueError(f"sound of shape {samples.shape} does not fit {self._channels} channels")
        self._waiting.append(samples)

    def advance(self, seconds: Fraction) -> None:
        """Encodes the whole blocks that begin before ``seconds``."""
        self._take(int(seconds * self._source_rate))
        due = int(seconds * self._rate) - self._encoded
        self._encode(min(due, self._ready.shape[1]) // self._codec.block * self._codec.block)

    def finish(self, seconds: Fraction) -> None:
        """Cuts the sound at ``seconds``, or pads it with silence until then."""
        self._take(math.ceil(seconds * self._source_rate))
        self._add(self._resample.rest())
        missing = max(0, round(seconds * self._rate) - self._encoded)
        self._add(np.zeros((self._channels, max(0, missing - self._ready.shape[1])), np.float32))
        self._encode(missing)
        self._mux(self._stream.encode(None))

    def _take(self, until: int) -> None:
        """Makes the sound ready that lies before sample ``until`` of the source, as far as it is there."""
        while self._waiting and (count := until - self._taken) > 0:
            piece = self._waiting.popleft()
            if piece.shape[1] > count:
                self._waiting.appendleft(piece[:, count:])
                piece = piece[:, :count]
            self._taken += piece.shape[1]
            self._add(self._resample(piece.astype(np.float32, copy=False)))

    def _add(self, samples: Samples) -> None:
        self._ready = np.concatenate([self._ready, samples], axis=1)

    def _encode(self, count: int) -> None:
        """Block by block: uncompressed sound would otherwise become one packet that nothing can lie between."""
        for first in range(0, count, self._codec.block):
            block = self._ready[:, first : min(first + self._codec.block, count)]
            self._mux(self._stream.encode(_audio_frame(block, self._layout, self._rate, self._encoded)))
            self._encoded += block.shape[1]
        self._ready = self._ready[:, max(0, count) :]


class _Resampler:
    """From one sample rate to another, piece by piece; the same samples where both are equal."""

    def __init__(self, source: int, target: int, layout: str) -> None:
        self._source, self._layout, self._taken = source, layout, 0
        self._resampler = None if source == target else av.AudioResampler("fltp", layout, target)

    def __call__(self, samples: Samples) -> Samples:
        if self._resampler is None or not samples.shape[1]:
            return samples
        frame = _audio_frame(samples, self._layout, self._source, self._taken)
        self._taken += samples.shape[1]
        return self._joined(self._resampler.resample(frame))

    def rest(self) -> Samples:
        """What the filter still holds."""
        if self._resampler is None or not self._taken:
            return self._joined([])
        return self._joined(self._resampler.resample(None))

    def _joined(self, frames: Sequence[av.AudioFrame]) -> Samples:
        nothing = np.zeros((2 if self._layout == "stereo" else 1, 0), np.float32)
        return np.concatenate([nothing, *(frame.to_ndarray() for frame in frames)], axis=1, dtype=np.float32)


def _audio_frame(samples: Samples, layout: str, rate: int, first: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
    return frame
