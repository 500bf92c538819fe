"""What a published file tells of its networks: the shapes of their tensors, and the configuration in its metadata."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from stillmotion.engine.official.header import Header
from stillmotion.engine.official.placement import Placement
from stillmotion.errors import BundleError

T = TypeVar("T", bound=bool | int | float | str | list[int] | list[list[int]])


class Shapes:
    """One network's tensors by diffusers' names."""

    def __init__(self, path: Path, component: str, placement: Placement) -> None:
        self._path, self._component = path, component
        self._shapes = {name: source.entry.shape for name, source in placement.items()}

    def __contains__(self, name: str) -> bool:
        return name in self._shapes

    def of(self, name: str, rank: int) -> tuple[int, ...]:
        """Raises BundleError where the tensor is absent or has not ``rank`` dimensions, none of them 0."""
        shape = self._shapes.get(name)
        if shape is None:
            raise self.fault(f"lacks {name}")
        if len(shape) != rank or 0 in shape:
            raise self.fault(f"has {name} of shape {list(shape)}, which should have {rank} dimensions")
        return shape

    def rank(self, name: str) -> int:
        return len(self._shapes.get(name, ()))

    def count(self, stack: str) -> int:
        """How many members, ``stack.0``, ``stack.1``, ..., have tensors; BundleError where one is left out."""
        depth = stack.count(".") + 1
        members = {name.split(".")[depth] for name in self._shapes if name.startswith(f"{stack}.")}
        for index in range(len(members)):
            if str(index) not in members:
                raise self.fault(f"lacks {stack}.{index}")
        return len(members)

    def exactly(self, number: int, divisor: int, what: str) -> int:
        """``number / divisor``, which must be whole and at least 1."""
        if divisor <= 0 or number < divisor or number % divisor:
            raise self.fault(f"has {what} of {number}, which is no multiple of {divisor}")
        return number // divisor

    def agreed(self, what: str, found: T, said: T) -> T:
        """``found``, which the metadata must not contradict: a stack whose end is missing has a shape, too."""
        if found != said:
            raise self.fault(f"has {what} {found}, by its metadata {said}")
        return found

    def fault(self, what: str) -> BundleError:
        return BundleError(f"{self._path}: {self._component} {what}")


class Metadata:
    """The JSON object ``config`` of a file's metadata; empty where the file has none."""

    def __init__(self, header: Header) -> None:
        self._path = header.path
        self._config: Any = {}
        text = header.metadata.get("config")
        if text is None:
            return
        try:
            self._config = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{self._path}: the configuration in its metadata is not JSON ({error})") from None
        if not isinstance(self._config, dict):
            raise BundleError(f"{self._path}: the configuration in its metadata is not a JSON object")

    def said(self, name: str, default: T) -> T:
        """The value at ``name``, elements between dots; ``default``, whose type it must have, where it is absent."""
        value = self._find(name)
        if value is None:
            return default
        if _is_like(value, default):
            return cast(T, _converted(value, default))
        raise BundleError(f"{self._path}: {name} in its metadata is {json.dumps(value)[:200]}")

    def blocks(self, name: str) -> list[tuple[str, Mapping[str, Any]]] | None:
        """A list of blocks, each a kind and its options; ``None`` where there is none."""
        value = self._find(name)
        if value is None:
            return None
        try:
            listed = [(kind, options) for kind, options in value]
        except (TypeError, ValueError):
            listed = [("", None)]
        if all(isinstance(kind, str) and isinstance(options, Mapping) for kind, options in listed):
            return listed
        raise BundleError(f"{self._path}: {name} in its metadata is no list of blocks")

    def _find(self, name: str) -> Any:
        value = self._config
        for element in name.split("."):
            value = value.get(element) if isinstance(value, Mapping) else None
        return value


def _is_like(value: Any, example: Any) -> bool:
    if isinstance(example, list):
        return isinstance(value, list) and all(_is_like(item, example[0]) for item in value)
    if isinstance(example, bool) or isinstance(value, bool):
        return isinstance(example, bool) and isinstance(value, bool)
    if isinstance(example, int):
        # Numbers such as 1000.0 stand where diffusers counts.
        return isinstance(value, (int, float)) and value == value // 1 and abs(value) < 2**31
    return isinstance(value, (int, float) if isinstance(example, float) else str)


def _converted(value: Any, example: Any) -> Any:
    if isinstance(example, list):
        return [_converted(item, example[0]) for item in value]
    return type(example)(value)
