"""What to make, and what happened: the values that every layer shares.

A ``Job`` says what a video must be and how the network computes it; a ``Work`` adds the files of one attempt; the
events say how it went. All are frozen, compare by value and cross process borders as JSON (``to_json``,
``from_json``). Standard library only: both the API side and the engine side import this module, it imports nothing.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

T = typing.TypeVar("T")

Family = Literal["ltx-2", "ltx-2.3"]

Schedule = Literal["ltx2", "linear_quadratic", "beta", "distilled"]
"""How noise levels are spread over the steps. ``distilled`` is the table of the 8-step models; fewer steps: its end."""

Upsampling = Literal["spatial_x2", "temporal_x2"]
"""Doubling the latents of a stage for the next one: both sides, or the number of latent frames less one."""

Acceleration = Literal["none", "regular", "high", "full"]
"""How much exactness is given up for time; ``none`` is exact. docs/engine.md says what each level leaves out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The facts of a model bundle that planning needs; no weights, no paths."""

    name: str
    family: Family
    spatial_multiple: int = 32
    """Width and height that the network computes are multiples of this (the video VAE's spatial compression)."""
    temporal_multiple: int = 8
    """Frame counts that the network computes are ``temporal_multiple * k + 1`` (the causal video VAE)."""
    max_pixels: int | None = None
    """Most pixels of one frame that this model computes; a larger delivery is scaled up. ``None``: no limit."""
    max_frames: int | None = None
    """Most frames that this model computes; a longer delivery is resampled in time. ``None``: no limit."""
    upsamplers: tuple[Upsampling, ...] = ()
    """What can stand between two of its stages."""
    loras: tuple[str, ...] = ()
    """LoRAs that come with the bundle, by name: ``distilled``, and the words of ``camera_lora``."""
    distilled: bool = False
    """True for weights that were trained to need few steps and no guidance: no distilled LoRA belongs on them."""
    can_expand_prompts: bool = False
    """Whether its text model can rewrite a prompt."""
    demonstration: bool = False
    """True for a bundle that shows the machinery rather than pictures; results must say so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guidance:
    """Weights of the guidance terms of one modality; the defaults mean none. docs/engine.md has the formula."""

    cfg: float = 1.0
    """Classifier-free guidance, away from the negative prompt; 1 is none."""
    stg: float = 0.0
    """Spatio-temporal guidance, away from a pass with one self-attention switched off; 0 is none."""
    modality: float = 1.0
    """Away from a pass in which video and audio do not see each other; 1 is none, below 1 is towards it."""
    rescale: float = 0.0
    """How far the spread of the guided estimate is brought back to the unguided one's: 0 not at all, 1 fully."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyframe:
    """An image shown at ``frame``, with ``strength`` from 0 (not at all) to 1 (exactly)."""

    image: str
    """Name of the request field the image came from; ``Work.images`` maps it to a file."""
    frame: int
    """Of the ``Job.num_frames`` delivered ones: 0 is the first, ``num_frames - 1`` the last."""
    strength: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """Low-rank weights that are added to the transformer's, ``scale`` times."""

    name: str
    """One of ``Model.loras`` where ``bundled``; else ``Work.loras`` maps it to a file."""
    scale: float = 1.0
    bundled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One denoising run over video and audio together, on the network's own grid.

    The first stage of a job starts from noise. Each later one doubles the video of the stage before in latent space,
    puts noise of its schedule's first level in and refines it; the sound of the first stage is the one that is kept.
    """

    width: int
    height: int
    num_frames: int
    fps: float
    """Frames per second of the computed frames; below ``Job.fps`` when a model's limits cap ``num_frames``."""
    steps: int
    schedule: Schedule = "ltx2"
    video: Guidance = Guidance()
    audio: Guidance = Guidance()
    gradient_gamma: float = 0.0
    """Weight of gradient estimation; 0 is off, and 1 is the plain step as well."""
    restart: bool = False
    """Whether every step puts a little fresh noise in."""
    start: Literal["noise", "spatial_x2", "temporal_x2"] = "noise"
    """Noise for the first stage, else the ``Upsampling`` of the stage before."""
    loras: tuple[Lora, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A video to make: what is promised to the user, and the stages that compute it."""

    model: str
    prompt: str
    negative_prompt: str
    width: int
    height: int
    num_frames: int
    fps: float
    seed: int
    audio: bool
    keyframes: tuple[Keyframe, ...]
    stages: tuple[Stage, ...]
    acceleration: Acceleration = "none"
    expand_prompt: bool = False
    """Whether the engine's text model rewrites the prompt first; ``Done.prompt`` is what became of it."""
    check_safety: bool = False
    """Whether the engine's checker, if it has one, sees the pictures that come in and frames that go out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How the finished frames become a file."""

    container: Literal["mp4", "webm", "mov", "gif", "png"] = "mp4"
    """A PNG is one picture, the first."""
    quality: Literal["low", "medium", "high", "maximum"] = "high"
    write_mode: Literal["fast", "balanced", "small"] = "balanced"
    settings: str | None = None
    """JSON text of what made the video, for the file's own metadata, so that the file can be run again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """Small pictures of what becomes of a video, while it is computed. They never change it."""

    path: str
    """The file to write, as JPEG: each newer picture replaces it as a whole."""
    seconds: float
    """Least time between two of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One attempt at a job: what an executor is asked to do. Only JSON and file names cross."""

    id: str
    job: Job
    encoding: Encoding
    images: Mapping[str, str]
    """Request field name to the path of an upright RGB picture."""
    output: str
    """Path of the file to write; its folder exists."""
    loras: Mapping[str, str] = field(default_factory=dict)
    """Name of a ``Lora`` that is not bundled to the path of its safetensors file."""
    preview: Preview | None = None
    """None: nobody asked for pictures."""
    poster: str | None = None
    """Path of a small WebP of the first frame to write; None: none is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """What is in the file that was made, as read back from what was written."""

    width: int
    height: int
    num_frames: int
    fps: float
    duration: float
    """Seconds: ``num_frames / fps``."""
    size: int
    """Bytes."""
    content_type: str
    has_audio: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    message: str
    level: Literal["DEBUG", "INFO", "WARN", "ERROR"] = "INFO"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """``step`` of ``total`` denoising steps are done in ``stage`` (0 is the first) of ``stages``."""

    stage: int
    stages: int
    step: int
    total: int
    preview: str | None = None
    """Path of the picture that was made after this step, if one was: ``Work.preview``'s own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    media: Media
    seconds: Mapping[str, float]
    """Wall seconds by part of the work (text, image, denoise, decode, encode), for the request's metrics."""
    prompt: str | None = None
    """The prompt that was used, where it is not the job's."""
    checked: bool = False
    """Whether a safety checker saw the pictures and frames."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The work ended without a file. ``fatal`` False: this job is at fault and would fail again.

    ``fatal`` True: the engine is no longer fit (its process died or its GPU is in error); the attempt is lost, the
    job may be tried again.
    """

    kind: str
    """A ``kind`` of the tree in errors.py."""
    message: str
    fatal: bool
    field: str | None = None
    """The request field at fault, or the name of the LoRA, where one is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    pass


Event = Log | Progress | Done | Failed | Cancelled
"""What an executor reports: any number of Log and Progress, then exactly one of Done, Failed, Cancelled."""


def to_json(value: Any) -> Any:
    """Plain dicts, lists and scalars for a value of this module (or a container of them)."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return value


def from_json(kind: type[T], data: Any) -> T:
    """The inverse of ``to_json`` for the dataclass ``kind``. Raises TypeError or KeyError on data that does not fit."""
    return typing.cast(T, _decode(kind, data))


def _decode(kind: Any, data: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        unknown = data.keys() - hints.keys()
        if unknown:
            raise TypeError(f"{kind.__name__} has no {', '.join(sorted(unknown))}")
        return kind(**{name: _decode(hints[name], item) for name, item in data.items()})
    if origin in (types.UnionType, typing.Union):
        inner = [argument for argument in arguments if argument is not type(None)]
        return None if data is None else _decode(inner[0], data)
    if origin is tuple:
        return tuple(_decode(arguments[0], item) for item in data)
    if origin is Mapping:
        return {key: _decode(arguments[1], item) for key, item in data.items()}
    if origin is Literal and data not in arguments:
        raise TypeError(f"{data!r} is none of {arguments}")
    if kind is float and not isinstance(data, bool) and isinstance(data, int):
        return float(data)
    if isinstance(kind, type) and origin is None and kind is not object and not isinstance(data, kind):
        raise TypeError(f"{data!r} is not {kind.__name__}")
    return data
