"""What is wrong with the files of a bundle, told from their headers: in a second, without torch.

That the contents are the published ones, only their checksums tell; that every tensor has its place and shape, only
loading does.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from stillmotion.engine.manifest import COMPONENTS, Manifest, load_manifest
from stillmotion.engine.official.facts import Metadata, Shapes
from stillmotion.engine.official.header import read_header
from stillmotion.engine.official.placement import generation, place_checkpoint, place_upsampler
from stillmotion.engine.official.upsampler_config import check_kind, upsampler_config
from stillmotion.errors import BundleError
from stillmotion.job import Family, Upsampling

_INDEX = ".safetensors.index.json"
_LORA_MARKS = {"lora_A", "lora_B", "lora_up", "lora_down"}


def verify_bundle(folder: Path) -> list[str]:
    """One line for each file that is absent, cut off, damaged, or not what the manifest says; empty: none."""
    try:
        manifest = load_manifest(folder)
    except BundleError as error:
        return [error.message]
    problems = []
    for check in _checks(folder, manifest):
        try:
            check()
        except BundleError as error:
            problems.append(error.message)
    return problems


def _checks(folder: Path, manifest: Manifest) -> Iterator[Callable[[], object]]:
    if manifest.checkpoint is None:
        folders = ["text_encoder", *COMPONENTS]
    else:
        checkpoint = folder / manifest.checkpoint
        yield lambda: verify_checkpoint(checkpoint, manifest.family)
        folders = ["text_encoder"]
    for kind, name in manifest.upsamplers.items():
        if name.endswith(".safetensors"):
            yield _deferred(verify_upsampler, folder / name, kind)
        else:
            folders.append(name)
    for name in folders:
        yield from _folder_checks(folder / name)
    for name in manifest.loras.values():
        yield _deferred(_verify_lora, folder / name)


def verify_checkpoint(path: Path, family: Family) -> None:
    """Raises BundleError for what is no whole single file of ``family``."""
    header = read_header(path)
    found = generation(header)
    if found != family:
        raise BundleError(f"{path} is of family {found}, not {family}")
    place_checkpoint(header)
    Metadata(header)


def verify_upsampler(path: Path, kind: Upsampling) -> None:
    """Raises BundleError for what is no upsampler of ``kind``."""
    header = read_header(path)
    check_kind(upsampler_config(Shapes(path, "upsampler", place_upsampler(header)), Metadata(header)), kind, path)


def _verify_lora(path: Path) -> None:
    header = read_header(path)
    if not any(_LORA_MARKS.intersection(key.split(".")) for key in header.tensors):
        raise BundleError(f"{path} is no LoRA: none of its {len(header.tensors)} tensors is one of a pair")


def _folder_checks(folder: Path) -> Iterator[Callable[[], object]]:
    """Each safetensors file of a component in diffusers' or transformers' layout, and those that an index names."""
    names = {path.name for path in folder.glob("*.safetensors")}
    for index in sorted(folder.glob(f"*{_INDEX}")):
        try:
            names |= {str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            yield _deferred(_raise, f"{index} cannot be read: {error}")
    if not names:
        yield _deferred(_raise, f"{folder} holds no safetensors file")
    for name in sorted(names):
        yield _deferred(read_header, folder / name)


def _deferred(check: Callable[..., object], *arguments: object) -> Callable[[], object]:
    return lambda: check(*arguments)


def _raise(message: str) -> None:
    raise BundleError(message)
