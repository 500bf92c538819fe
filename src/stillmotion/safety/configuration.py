"""Which checkers there are: from the operator's words to what the parts are told. Imports no torch."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stillmotion.errors import ConfigurationError
from stillmotion.safety.prompts import PromptPatterns

Mode = Literal["auto", "off", "required"]

RECOMMENDED = "nsfw_image_detection"
"""Folder below ``models`` of the classifier that is used when none is named: Falconsai/nsfw_image_detection."""

FLAGGED_LABELS = frozenset(
    {"nsfw", "unsafe", "not safe", "not_safe", "porn", "pornography", "hentai", "sexual", "explicit", "nude", "nudity"}
)
"""Labels that are refused unless others are named, in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """A classifier of pictures, as it is told to the process that runs it."""

    folder: str
    labels: tuple[str, ...]
    """The model's labels that are refused."""
    threshold: float
    """The least score that is refused, 0 to 1."""
    device: str = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """The checkers that a server has; None: nobody looks at that."""

    prompts: PromptPatterns | None = None
    pictures: Classifier | None = None


def choose_checks(
    mode: Mode,
    models: Path,
    *,
    engine: bool,
    model: str | None = None,
    labels: Collection[str] = (),
    threshold: float = 0.5,
    device: str = "cpu",
    terms: Path | None = None,
) -> Checks:
    """The checkers for the settings of these names; ``engine`` False for one that cannot look at pictures.

    Raises ConfigurationError for a model or a file that is named and cannot be used, and when ``required`` pictures
    cannot be checked.
    """
    if mode == "off":
        return Checks()
    folder = _folder(model, models) if engine else None
    if mode == "required" and folder is None:
        why = f"there is none in {models / RECOMMENDED}" if engine else "the mock engine cannot run one"
        raise ConfigurationError(f'safety = "required" needs a classifier of pictures, and {why}')
    pictures = None
    if folder is not None:
        refused = flagged_labels(folder, labels)
        pictures = Classifier(folder=str(folder), labels=refused, threshold=threshold, device=device)
    return Checks(prompts=PromptPatterns.load(terms) if terms else None, pictures=pictures)


def check_exposure(mode: Mode, checks: Checks, *, loopback: bool) -> None:
    """Raises ConfigurationError for a server that others can reach and whose pictures nobody looks at, unless that
    was said in so many words."""
    if not loopback and mode != "off" and checks.pictures is None:
        raise ConfigurationError(
            "a server that other machines can reach needs a safety checker: install the recommended one with "
            '"stillmotion models pull", name another in safety_model, or set safety = "off" to do without'
        )


def flagged_labels(folder: Path, wanted: Collection[str] = ()) -> tuple[str, ...]:
    """The labels of the model in ``folder`` that are refused: ``wanted``, or those of ``FLAGGED_LABELS`` that it has.

    Raises ConfigurationError when the folder is not a classifier with safetensors weights, or has none of them.
    """
    has = _labels(folder)
    by_name = {label.casefold(): label for label in has}
    told = f"{folder} has the labels {', '.join(has)}"
    if strangers := [label for label in wanted if label.casefold() not in by_name]:
        raise ConfigurationError(f"safety_labels: {told}, not {', '.join(strangers)}")
    found = tuple(
        by_name[name] for name in sorted({label.casefold() for label in wanted or FLAGGED_LABELS} & {*by_name})
    )
    if not found:
        raise ConfigurationError(f"safety_labels: {told}; say which of them are refused")
    return found


def _folder(model: str | None, models: Path) -> Path | None:
    if model is None:
        return folder if (folder := models / RECOMMENDED).is_dir() else None
    for folder in (models / model, Path(model)):
        if folder.is_dir():
            return folder
    raise ConfigurationError(f"safety_model: there is no folder {model!r} in {models}, and no such path")


def _labels(folder: Path) -> tuple[str, ...]:
    for part in ("config.json", "preprocessor_config.json"):
        if not (folder / part).is_file():
            raise ConfigurationError(f"safety_model: {folder} has no {part}, so it is not a classifier of pictures")
    if not any(folder.glob("*.safetensors")):
        raise ConfigurationError(f"safety_model: {folder} has no safetensors weights, and others are not loaded")
    try:
        config: Any = json.loads((folder / "config.json").read_bytes())
        if config["model_type"] and "id2label" not in config:
            return "LABEL_0", "LABEL_1"  # what transformers calls two labels that have no name
        return tuple(map(str, config["id2label"].values()))
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        raise ConfigurationError(f"safety_model: {folder}/config.json does not tell the model's labels") from None
