"""What a model bundle says of itself: a folder of diffusers components with a ``stillmotion.json``.

    NAME/
      stillmotion.json                              the manifest, read here
      text_encoder/ tokenizer/
      transformer/ vae/ audio_vae/ vocoder/ connectors/     or the published single file that ``checkpoint`` names
      a folder or a published file per upsampler, a file per LoRA

Standard library only: planning and the API side read manifests without the network's packages.
"""

import json
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stillmotion.errors import BundleError
from stillmotion.job import Family, Model, Upsampling

MANIFEST = "stillmotion.json"
FORMAT = 1
"""The one manifest format this version reads; raised when a field changes its meaning."""

COMPONENTS = ("transformer", "vae", "audio_vae", "vocoder", "connectors")
"""Folders of a bundle without a ``checkpoint``, which holds them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the network of this bundle computes at most; ``None``: no limit."""

    max_pixels: int | None = None
    max_frames: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    """The terms of the weights: a text ``file`` in the bundle, or the ``url`` it is published at."""

    name: str
    file: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The frozen facts of one bundle."""

    name: str
    family: Family
    stg_block: int
    """Transformer block whose self-attention spatio-temporal guidance perturbs: 29 in LTX-2 19B, 28 in LTX-2.3 22B."""
    max_sequence_length: int
    """Text tokens that the connectors were trained with (1024); prompts are padded or cut to it."""
    licence: Licence
    image_crf: int = 33
    """H.264 quality that start images are re-compressed with before encoding, as in training (33; 0: not at all)."""
    negative_prompt: str = ""
    """Used where a request gives none."""
    limits: Limits = Limits()
    demonstration: bool = False
    checkpoint: str | None = None
    """Published single file that holds all networks but the text encoder; ``None``: a folder for each."""
    distilled: bool = False
    """Whether the weights were trained to need few steps and no guidance."""
    upsamplers: Mapping[Upsampling, str] = field(default_factory=dict)
    """Latent upsamplers in the bundle: a folder, or a published safetensors file."""
    loras: Mapping[str, str] = field(default_factory=dict)
    """LoRAs in the bundle, name to safetensors file: ``distilled``, and words of ``camera_lora``."""
    can_expand_prompts: bool = False
    """Whether the text encoder's instruction-tuned head came along."""
    spatial_multiple: int = 32
    """Pixels of a side that the video VAE makes one latent of."""

    def model(self) -> Model:
        """The facts that planning needs."""
        return Model(
            name=self.name,
            family=self.family,
            spatial_multiple=self.spatial_multiple,
            max_pixels=self.limits.max_pixels,
            max_frames=self.limits.max_frames,
            upsamplers=tuple(self.upsamplers),
            loras=tuple(self.loras),
            distilled=self.distilled,
            can_expand_prompts=self.can_expand_prompts,
            demonstration=self.demonstration,
        )


def load_manifest(folder: Path) -> Manifest:
    """Reads and checks ``folder``'s manifest, and that every component is there (its configuration, not its weights).

    Raises BundleError that names the file or field at fault.
    """
    path = folder / MANIFEST
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(f"{folder} is not a model bundle: it has no {MANIFEST}") from None
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise BundleError(f"{path} is not a JSON object")
    if data.pop("format", None) != FORMAT:
        raise BundleError(f"{path}: format must be {FORMAT}")
    try:
        manifest = _manifest(data)
    except _Fault as fault:
        raise BundleError(f"{path}: {fault}") from None
    _check_files(folder, manifest)
    return manifest


class _Fault(Exception):
    """What is wrong with one field; told to the caller together with the file's path."""


_OPTIONAL = (
    "image_crf",
    "negative_prompt",
    "distilled",
    "demonstration",
    "can_expand_prompts",
    "spatial_multiple",
)


def _manifest(data: Mapping[str, Any]) -> Manifest:
    fields = _Fields(data)
    family = fields.take("family", str)
    if family not in typing.get_args(Family):
        raise _Fault(f"family must be one of {', '.join(typing.get_args(Family))}, not {family!r}")
    optional = {name: fields.take(name, kind) for name, kind in _kinds().items() if name in data}
    manifest = Manifest(
        name=fields.take("name", str),
        family=typing.cast(Family, family),
        stg_block=fields.take("stg_block", int),
        max_sequence_length=fields.take("max_sequence_length", int),
        licence=_licence(fields.take("licence", dict)),
        limits=_limits(fields.take("limits", dict, default=None)),
        checkpoint=fields.take("checkpoint", str, default=None),
        upsamplers=typing.cast(Mapping[Upsampling, str], fields.take("upsamplers", dict, default={})),
        loras=fields.take("loras", dict, default={}),
        **optional,
    )
    fields.refuse_rest()
    for name, smallest in (("stg_block", 0), ("max_sequence_length", 1), ("image_crf", 0), ("spatial_multiple", 1)):
        _at_least(smallest, name, getattr(manifest, name))
    strangers = sorted(manifest.upsamplers.keys() - set(typing.get_args(Upsampling)))
    if strangers:
        raise _Fault(f"upsamplers are {' and '.join(typing.get_args(Upsampling))}, not {', '.join(strangers)}")
    for name, value in _entries(manifest):
        if not isinstance(value, str) or not value or Path(value).name != value:
            raise _Fault(f"{name} must name a file or folder of the bundle, not {json.dumps(value)}")
    if manifest.image_crf > 51:
        raise _Fault("image_crf is at most 51")
    if not manifest.name:
        raise _Fault("name is empty")
    return manifest


def _kinds() -> dict[str, type]:
    return {name: kind for name, kind in typing.get_type_hints(Manifest).items() if name in _OPTIONAL}


class _Fields:
    """Takes typed fields out of a JSON object and refuses what nobody took."""

    def __init__(self, data: Mapping[str, Any], within: str = "") -> None:
        self._data, self._within, self._taken = data, within, set[str]()

    def take(self, name: str, kind: type, default: Any = ...) -> Any:
        self._taken.add(name)
        value = self._data.get(name, default)
        if value is ...:
            raise _Fault(f"{self._within}{name} is missing")
        # JSON's true is an int to isinstance.
        if value is not default and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            raise _Fault(f"{self._within}{name} must be {kind.__name__}, not {json.dumps(value)}")
        return value

    def refuse_rest(self) -> None:
        unknown = sorted(self._data.keys() - self._taken)
        if unknown:
            raise _Fault(f"unknown {', '.join(self._within + name for name in unknown)}")


def _limits(data: Mapping[str, Any] | None) -> Limits:
    fields = _Fields(data or {}, "limits.")
    limits = Limits(
        max_pixels=fields.take("max_pixels", int, default=None),
        max_frames=fields.take("max_frames", int, default=None),
    )
    fields.refuse_rest()
    _at_least(1, "limits.max_pixels", limits.max_pixels)
    _at_least(1, "limits.max_frames", limits.max_frames)
    return limits


def _licence(data: Mapping[str, Any]) -> Licence:
    fields = _Fields(data, "licence.")
    licence = Licence(
        name=fields.take("name", str),
        file=fields.take("file", str, default=None),
        url=fields.take("url", str, default=None),
    )
    fields.refuse_rest()
    if (licence.file is None) == (licence.url is None):
        raise _Fault("licence needs either a file or a url")
    return licence


def _entries(manifest: Manifest) -> Iterator[tuple[str, Any]]:
    """Each part that the manifest names by itself, and where it says so."""
    if manifest.checkpoint is not None:
        yield "checkpoint", manifest.checkpoint
    yield from ((f"upsamplers.{kind}", name) for kind, name in manifest.upsamplers.items())
    yield from ((f"loras.{lora}", name) for lora, name in manifest.loras.items())


def _at_least(smallest: int, name: str, value: int | None) -> None:
    if value is not None and value < smallest:
        raise _Fault(f"{name} is at least {smallest}")


def _check_files(folder: Path, manifest: Manifest) -> None:
    missing = [file for file in _required(folder, manifest) if not (folder / file).is_file()]
    if manifest.licence.file is not None:
        licence = folder / manifest.licence.file
        if licence.resolve().parent != folder.resolve():
            raise BundleError(f"{folder / MANIFEST}: licence.file must be a file of the bundle's own folder")
        if not licence.is_file():
            missing.append(manifest.licence.file)
    if missing:
        raise BundleError(f"{folder} lacks {', '.join(missing)}")


def _required(folder: Path, manifest: Manifest) -> Iterator[str]:
    yield "text_encoder/config.json"
    yield "tokenizer/tokenizer_config.json"
    if manifest.checkpoint is None:
        yield from (f"{name}/config.json" for name in COMPONENTS)
    for _, name in _entries(manifest):
        yield name if name.endswith(".safetensors") else f"{name}/config.json"
