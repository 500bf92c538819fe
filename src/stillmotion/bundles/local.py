"""A bundle from files that are on this machine already: linked to, checked, never copied; no network."""

import fnmatch
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from stillmotion.bundles import catalogue
from stillmotion.bundles.catalogue import FolderSource, KnownBundle, Source
from stillmotion.bundles.checksum import sha256
from stillmotion.bundles.plan import manifest_of, manifest_text
from stillmotion.bundles.pull import Watcher
from stillmotion.bundles.record import LOCAL, MANIFEST, Acceptance, Entry, Record, write_record, write_text
from stillmotion.bundles.shelf import Shelf
from stillmotion.errors import BundleError
from stillmotion.job import Upsampling

TEXT_MODEL = "gemma3"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFiles:
    """Where the parts of a bundle lie."""

    checkpoint: Path
    text_encoder: Path
    tokenizer: Path | None = None
    """Default: beside the text encoder's files, as its publisher keeps them."""
    upsamplers: Mapping[Upsampling, Path] = field(default_factory=dict)
    loras: Mapping[str, Path] = field(default_factory=dict)


def add(
    name: str, like: KnownBundle, files: LocalFiles, shelf: Shelf, watcher: Watcher, *, accepted_by: str, now: str
) -> None:
    """Makes the bundle ``name``, with everything but the files as in ``like``.

    A bundle of a known name must have the published files: sizes and checksums are compared where they are known. Under
    another name they may be anything of that family, a fine-tuned checkpoint for example. Raises BundleError.
    """
    folder = shelf.folder(name)
    if folder.exists():
        raise BundleError(f"{folder} is there already: remove it first with `stillmotion models rm {name}`")
    bundle = _with(like, name, files)
    links = _links(bundle, files)
    if name == like.name:
        _check_sizes(bundle, like, links)
    entries = {}
    for target, path in links.items():
        watcher.begin(target, path.stat().st_size)
        watcher.checking(target)
        entries[target] = Entry(size=path.stat().st_size, sha256=sha256(path), origin=str(path), whole=True)
        watcher.finish(target, f"linked to {path}")
    if name == like.name:
        _check_digests(bundle, like, entries)
    terms = catalogue.terms_of(like.repository)
    for target, path in links.items():
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        (folder / target).symlink_to(path)
    accepted = Acceptance(name=terms.name, url=terms.url, sha256=None, by=accepted_by, at=now)
    write_record(folder, Record(kind="bundle", source=LOCAL, files=entries, accepted=(accepted,)))
    write_text(folder / MANIFEST, manifest_text(manifest_of(bundle, name=name)))


def _with(like: KnownBundle, name: str, files: LocalFiles) -> KnownBundle:
    """``like`` with the parts that there are, under the names that they have."""

    def source(path: Path) -> Source:
        return Source(repository=like.repository, file=path.name, size=0)

    return replace(
        like,
        name=name,
        checkpoint=source(files.checkpoint),
        upsamplers={kind: source(path) for kind, path in files.upsamplers.items()},
        loras={word: source(path) for word, path in files.loras.items()},
    )


def _links(bundle: KnownBundle, files: LocalFiles) -> dict[str, Path]:
    singles = (files.checkpoint, *files.upsamplers.values(), *files.loras.values())
    links: dict[str, Path] = {}
    for path in singles:
        if path.suffix != ".safetensors" or not path.is_file():
            raise BundleError(f"{path} is not a .safetensors file")
        if links.setdefault(path.name, path.resolve()) != path.resolve():
            raise BundleError(f"two different files are called {path.name}")
    for part, folder in zip(catalogue.TEXT, (files.text_encoder, files.tokenizer or files.text_encoder), strict=True):
        links |= _folder_links(part, folder)
    try:
        text_model = json.loads((files.text_encoder / "config.json").read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError):
        text_model = None
    if text_model != TEXT_MODEL:
        raise BundleError(f"{files.text_encoder} is not a Gemma 3 model: its config.json says {text_model!r}")
    return links


def _folder_links(part: FolderSource, folder: Path) -> dict[str, Path]:
    here = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    for pattern in part.needed:
        if not any(fnmatch.fnmatch(path.name, pattern) for path in here):
            raise BundleError(f"{folder} has no {pattern}, which {part.folder} needs")
    return {
        f"{part.folder}/{path.name}": path.resolve()
        for path in here
        if any(fnmatch.fnmatch(path.name, pattern) for pattern in part.patterns)
    }


def _check_sizes(bundle: KnownBundle, like: KnownBundle, links: Mapping[str, Path]) -> None:
    for file, source in _pairs(bundle, like):
        size = links[file].stat().st_size
        if not source.is_published(size, None):
            raise BundleError(f"{file} has {size:,} bytes, {source.file} has {source.size:,}: {_other_name(like)}")


def _check_digests(bundle: KnownBundle, like: KnownBundle, entries: Mapping[str, Entry]) -> None:
    for file, source in _pairs(bundle, like):
        if not source.is_published(entries[file].size, entries[file].sha256):
            raise BundleError(f"{file} does not have the checksum of {source.file}: {_other_name(like)}")


def _pairs(bundle: KnownBundle, like: KnownBundle) -> list[tuple[str, Source]]:
    pairs = [(bundle.checkpoint.file, like.checkpoint)]
    pairs += [(bundle.upsamplers[kind].file, like.upsamplers[kind]) for kind in bundle.upsamplers]
    return pairs + [(bundle.loras[word].file, like.loras[word]) for word in bundle.loras if word in like.loras]


def _other_name(like: KnownBundle) -> str:
    return f"to use it all the same, give the bundle a name of its own and add --like {like.name}"
