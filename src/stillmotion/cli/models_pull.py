"""``stillmotion models pull`` and ``models add``: files in, with the terms they are given under."""

import os
import pwd
import sys
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from stillmotion.bundles.catalogue import BUNDLES, CLASSIFIER, PARTS, UPSAMPLER_PARTS, KnownBundle, Terms, terms_of
from stillmotion.bundles.local import LocalFiles, add
from stillmotion.bundles.plan import Plan, Planner, TermsToAccept
from stillmotion.bundles.pull import begin, check_space, complete, gigabytes, need, unaccepted
from stillmotion.bundles.shelf import Shelf
from stillmotion.cli.models_progress import watching
from stillmotion.errors import BundleError, ConfigurationError
from stillmotion.hub import Hub
from stillmotion.settings import Settings

CAMERAS = tuple(word for word in BUNDLES["ltx-2-19b"].loras if word != "distilled")


def pull(
    what: str,
    *,
    models: Path | None,
    revision: str | None,
    name: str | None,
    without: Sequence[str],
    folders: Sequence[Path],
    yes: bool,
    accept_licence: bool,
) -> int:
    """Raises StillmotionError for everything that a person can mend."""
    settings = Settings.load(models=models)
    without = [part for words in without for part in words.split(",")]
    if strangers := set(without) - PARTS.keys():
        raise ConfigurationError(f"--without takes {', '.join(PARTS)}, not {', '.join(sorted(strangers))}")
    shelf, hub = Shelf(settings.models), Hub()
    planner = Planner(hub)
    with ExitStack() as stack:
        plans = _plans(what, planner, shelf, revision=revision, name=name, without=without)
        for plan in plans:
            stack.enter_context(shelf.locked(plan.name))
        needs = {plan.name: need(plan, shelf, folders) for plan in plans}
        size = sum(missing.to_fetch for missing in needs.values())
        for plan in plans:
            _show(plan, {item.target for item in needs[plan.name].items})
        available = check_space(settings.models, size, reserve=settings.min_free_bytes)
        print(f"\nTo download: {gigabytes(size)}. Free in {settings.models}: {gigabytes(available)}.")
        if any(needs[plan.name].items for plan in plans):
            for plan in plans:
                planner.check_access(plan)
        _accept_all([terms for plan in plans for terms in unaccepted(plan, shelf)], accept_licence)
        if size and not yes and not _agrees(f"Download {gigabytes(size)}?"):
            raise ConfigurationError("nothing was downloaded; --yes answers this question")
        for plan in plans:
            begin(plan, shelf, accepted_by=_account(), now=_now())
        try:
            with watching() as watcher:
                for plan in plans:
                    complete(plan, shelf, hub, watcher, folders)
        except KeyboardInterrupt:
            print("\nStopped. What is here is kept: run the same command to go on.", file=sys.stderr)
            raise
    for plan in plans:
        print(_done(plan, settings.models))
    return 0


def register(
    name: str,
    *,
    like: str | None,
    models: Path | None,
    checkpoint: Path,
    text_encoder: Path,
    tokenizer: Path | None,
    upsamplers: dict[str, Path | None],
    distilled: Path | None,
    cameras: Sequence[str],
    accept_licence: bool,
) -> int:
    settings = Settings.load(models=models)
    known = _known(like or name)
    loras = {"distilled": distilled} if distilled else {}
    loras |= dict(map(_camera, cameras))
    files = LocalFiles(
        checkpoint=checkpoint,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        upsamplers={kind: path for kind, part in UPSAMPLER_PARTS.items() if (path := upsamplers.get(part))},
        loras=loras,
    )
    shelf = Shelf(settings.models)
    with shelf.locked(name):
        _accept_all(
            [TermsToAccept(terms=terms_of(known.repository), text=None, repositories=(known.repository,))],
            accept_licence,
        )
        with watching() as watcher:
            add(name, known, files, shelf, watcher, accepted_by=_account(), now=_now())
    print(f"{name} is in {settings.models}. Its files stay where they are. Use it: --model all={name}")
    return 0


def _plans(
    what: str, planner: Planner, shelf: Shelf, *, revision: str | None, name: str | None, without: Collection[str]
) -> list[Plan]:
    if what == CLASSIFIER.name or what == CLASSIFIER.repository:
        return [planner.classifier(CLASSIFIER)]
    if "/" in what:
        target = name or what.rpartition("/")[2]
        shelf.folder(target)  # a bad name is told before anything is asked of the hub
        return [planner.repository(what, name=target, revision=revision)]
    if name is not None:
        raise ConfigurationError("--name is for repositories: a bundle that is known by name keeps it")
    plans = [planner.known(_known(what), revision=revision, without=without)]
    if "safety" not in without:
        plans.append(planner.classifier(CLASSIFIER))
    return plans


def _known(name: str) -> KnownBundle:
    if name not in BUNDLES:
        known = ", ".join(BUNDLES)
        raise BundleError(f"no bundle is known as {name!r}; known are {known}, and any owner/repo laid out as a bundle")
    return BUNDLES[name]


def _camera(text: str) -> tuple[str, Path]:
    word, sign, file = text.partition("=")
    if not sign or word not in CAMERAS:
        raise ConfigurationError(f"--camera takes WORD=FILE with a word of {', '.join(CAMERAS)}, not {text!r}")
    return word, Path(file)


def _show(plan: Plan, missing: Collection[str]) -> None:
    print(f"\n{plan.name}, from {plan.source}")
    parts: dict[str, list[tuple[int, bool]]] = {}
    for item in plan.items:
        parts.setdefault(item.part, []).append((item.file.size, item.target in missing))
    for part, files in parts.items():
        state = "" if any(absent for _, absent in files) else ", here already"
        count = "1 file" if len(files) == 1 else f"{len(files)} files"
        print(f"  {part:<16}{gigabytes(sum(size for size, _ in files)):>10}  {count}{state}")
    for note in plan.notes:
        print(f"  {note}")


def _accept_all(terms: Sequence[TermsToAccept], accept_licence: bool) -> None:
    """Each licence is shown once and must be accepted. Raises ConfigurationError when one is not."""
    seen: set[tuple[Terms, str | None]] = set()
    for found in terms:
        if (found.terms, found.text) in seen:
            continue
        seen.add((found.terms, found.text))
        print(f"\n{', '.join(found.repositories)}\n  {found.terms.name}\n  {found.terms.url}")
        if accept_licence:
            print("  accepted with --accept-licence")
            continue
        if found.text and _answer(f"  Read it here ({len(found.text.split()):,} words)? [y/N] ") in ("y", "yes"):
            print(found.text)
        if not _agrees("  Do you accept these terms?"):
            raise ConfigurationError("the licence was not accepted, nothing was done; --accept-licence accepts it")


def _agrees(question: str) -> bool:
    return _answer(f"{question} [y/N] ") in ("y", "yes")


def _answer(question: str) -> str:
    """In lower case; "" where nobody is there to answer."""
    try:
        return input(question).strip().lower()
    except EOFError:
        print()
        return ""


def _done(plan: Plan, models: Path) -> str:
    told = f"{plan.name} is complete in {models / plan.name}."
    return told + (f" Use it: --model all={plan.name}" if plan.kind == "bundle" else "")


def _account() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
