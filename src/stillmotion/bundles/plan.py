"""What a pull would bring, from a bundle's name or its repository; nothing is written yet."""

import fnmatch
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from stillmotion.bundles import catalogue
from stillmotion.bundles.catalogue import FolderSource, KnownBundle, KnownClassifier, Terms
from stillmotion.bundles.record import MANIFEST, RECORD, Kind
from stillmotion.errors import BundleError
from stillmotion.hub import Hub, HubFile, Repository

FORMAT = 1
"""Of the manifest that is written; engine/manifest.py reads it."""
LICENCE_FILE = "LICENSE"
_LICENCE = re.compile(r"(.*licen[cs]e.*|copying|terms.*)(\.(txt|md))?", re.IGNORECASE)
MAX_LICENCE_BYTES = 1 << 20
MAX_MANIFEST_BYTES = 1 << 20
# A repository may hold anything; what could run code when it is loaded (pickles, Python) stays there.
_DATA = {".safetensors", ".json", ".model", ".txt", ".md", ".jinja", ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One file to have, at ``target`` (with ``/``) in the bundle's folder."""

    target: str
    file: HubFile
    part: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TermsToAccept:
    """Terms, their text where the repository holds it, and for which repositories."""

    terms: Terms
    text: str | None
    repositories: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A folder of models to be. ``last`` is put in place after all else and makes the folder usable."""

    name: str
    kind: Kind
    source: str
    items: tuple[Item, ...]
    terms: tuple[TermsToAccept, ...]
    last: str
    """Target of one of ``items``, or the name of a file that ``texts`` holds."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Files that are written rather than fetched, by name."""
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return sum(item.file.size for item in self.items)


class Planner:
    """Makes plans from what the hub lists now; asks for each repository once."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._repositories: dict[tuple[str, str | None], Repository] = {}

    def known(self, bundle: KnownBundle, *, revision: str | None = None, without: Collection[str] = ()) -> Plan:
        """``revision`` is one of the checkpoint's repository. Raises FileDownloadError, BundleError, Unavailable."""
        items, notes = [], []
        for part, source in bundle.sources():
            if part in without:
                continue
            repository = self._repository(
                source.repository, revision if source.repository == bundle.repository else None
            )
            file = _only(repository, source.file)
            if revision is None and not source.is_published(file.size, file.sha256):
                notes.append(f"{source.file} is not the one that this version of Stillmotion knows: it was replaced")
            items.append(Item(target=source.file, file=file, part=part))
        for folder in catalogue.TEXT:
            items += self._folder(folder)
        terms = self._terms(items)
        main = self._repository(bundle.repository, revision)
        text = next((found.text for found in terms if bundle.repository in found.repositories), None)
        manifest = manifest_of(bundle, name=bundle.name, without=without, licence_file=bool(text))
        return Plan(
            name=bundle.name,
            kind="bundle",
            source=f"{main.name}@{main.commit}",
            items=tuple(items),
            terms=terms,
            last=MANIFEST,
            texts={**({LICENCE_FILE: text} if text else {}), MANIFEST: manifest_text(manifest)},
            notes=tuple(notes),
        )

    def classifier(self, classifier: KnownClassifier) -> Plan:
        repository = self._repository(classifier.repository, None)
        items = [Item(target=name, file=_only(repository, name), part="safety") for name in classifier.files]
        return Plan(
            name=classifier.name,
            kind="classifier",
            source=f"{repository.name}@{repository.commit}",
            items=tuple(items),
            terms=self._terms(items),
            last="config.json",
        )

    def repository(self, repository: str, *, name: str, revision: str | None = None) -> Plan:
        """Any repository that is laid out as a bundle: it says so with a manifest."""
        listed = self._repository(repository, revision)
        if MANIFEST not in listed.files:
            known = ", ".join((*catalogue.BUNDLES, catalogue.CLASSIFIER.name))
            raise BundleError(f"{repository} is not laid out as a bundle: it has no {MANIFEST}. Known by name: {known}")
        self._check_manifest(listed.files[MANIFEST])
        items, left = [], []
        for path, file in sorted(listed.files.items()):
            pure = PurePosixPath(path)
            if any(piece.startswith(".") for piece in pure.parts) or path == RECORD:
                continue
            if pure.suffix.lower() in _DATA:
                items.append(Item(target=path, file=file, part=pure.parts[0]))
            else:
                left.append(path)
        return Plan(
            name=name,
            kind="bundle",
            source=f"{repository}@{listed.commit}",
            items=tuple(items),
            terms=self._terms(items),
            last=MANIFEST,
            notes=(f"left there, being neither weights nor text: {', '.join(left)}",) if left else (),
        )

    def check_access(self, plan: Plan) -> None:
        """Raises FileDownloadError that says what to do, before 46 GB are fetched for nothing."""
        asked = set()
        for item in plan.items:
            name = item.file.repository
            gated = any(found.gated for found in self._repositories.values() if found.name == name)
            if gated and name not in asked:
                asked.add(name)
                self._hub.check_access(item.file)

    def _repository(self, name: str, revision: str | None) -> Repository:
        key = (name, revision)
        if key not in self._repositories:
            self._repositories[key] = self._hub.repository(name, revision)
        return self._repositories[key]

    def _folder(self, folder: FolderSource) -> Iterator[Item]:
        repository = self._repository(folder.repository, None)
        for pattern in folder.needed:
            if not fnmatch.filter(repository.files, pattern):
                raise BundleError(f"{repository.name} has no {pattern}, which {folder.folder} needs")
        for path, file in sorted(repository.files.items()):
            if "/" not in path and any(fnmatch.fnmatch(path, pattern) for pattern in folder.patterns):
                yield Item(target=f"{folder.folder}/{path}", file=file, part=folder.folder)

    def _terms(self, items: Iterable[Item]) -> tuple[TermsToAccept, ...]:
        """The terms of all repositories of ``items``, each once, in order."""
        by_terms: dict[Terms, list[str]] = {}
        for item in items:
            repositories = by_terms.setdefault(catalogue.terms_of(item.file.repository), [])
            if item.file.repository not in repositories:
                repositories.append(item.file.repository)
        return tuple(
            TermsToAccept(terms=terms, text=self._licence_text(names[0]), repositories=tuple(names))
            for terms, names in by_terms.items()
        )

    def _licence_text(self, name: str) -> str | None:
        found = next(listed for (known, _), listed in self._repositories.items() if known == name)
        files = [file for path, file in sorted(found.files.items()) if "/" not in path and _LICENCE.fullmatch(path)]
        texts = [file for file in files if 0 < file.size <= MAX_LICENCE_BYTES]
        return self._hub.read(texts[0]).decode("utf-8", "replace") if texts else None

    def _check_manifest(self, file: HubFile) -> None:
        if file.size > MAX_MANIFEST_BYTES:
            raise BundleError(f"{MANIFEST} of {file.repository} has {file.size:,} bytes: that is no manifest")
        try:
            manifest = json.loads(self._hub.read(file))
            fits = manifest["format"] == FORMAT
        except (KeyError, TypeError, ValueError, RecursionError):
            fits = False
        if not fits:
            raise BundleError(f"{MANIFEST} of {file.repository} is not a manifest of format {FORMAT}")


def manifest_of(
    bundle: KnownBundle, *, name: str, without: Collection[str] = (), licence_file: bool = False
) -> dict[str, Any]:
    """The manifest of a bundle with all parts but ``without``; files lie in it under their published names."""
    terms = catalogue.terms_of(bundle.repository)
    loras = {
        word: source.file
        for word, source in bundle.loras.items()
        if ("distilled" if word == "distilled" else "cameras") not in without
    }
    return {
        "format": FORMAT,
        "name": name,
        "family": bundle.family,
        "stg_block": bundle.stg_block,
        "max_sequence_length": catalogue.MAX_SEQUENCE_LENGTH,
        "image_crf": catalogue.IMAGE_CRF,
        "negative_prompt": catalogue.NEGATIVE_PROMPT,
        "licence": {"name": terms.name, **({"file": LICENCE_FILE} if licence_file else {"url": terms.url})},
        "checkpoint": bundle.checkpoint.file,
        "distilled": bundle.distilled,
        "upsamplers": {
            kind: source.file
            for kind, source in bundle.upsamplers.items()
            if catalogue.UPSAMPLER_PARTS[kind] not in without
        },
        "loras": loras,
        "can_expand_prompts": True,
    }


def manifest_text(manifest: Mapping[str, Any]) -> str:
    return json.dumps(manifest, indent=2)


def _only(repository: Repository, path: str) -> HubFile:
    if path not in repository.files:
        raise BundleError(f"{repository.name} has no {path} at {repository.commit[:12]}: try --revision")
    return repository.files[path]
