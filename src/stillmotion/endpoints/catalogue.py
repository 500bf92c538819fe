"""The catalogue, in the order of the ids. Adding an endpoint is one file and one line here."""

import hashlib
import importlib.util
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from stillmotion.endpoints import ltx_2, ltx_2_3, ltx_2_3_22b_lora, ltx_2_3_quality, ltx_2_19b
from stillmotion.endpoints.endpoint import Endpoint
from stillmotion.errors import ConfigurationError

CATALOGUE: Mapping[str, Endpoint] = {
    module.ENDPOINT.id: module.ENDPOINT for module in (ltx_2, ltx_2_3, ltx_2_19b, ltx_2_3_22b_lora, ltx_2_3_quality)
}

ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)+")
_ROUTES = frozenset({"requests", "stream", "status", "cancel", "realtime"})
"""What clients put behind an id: a segment of one of these names could not be told from it."""


def catalogue(files: Iterable[Path] = ()) -> Mapping[str, Endpoint]:
    """The shipped endpoints, then those of ``files``: Python modules, each with a sequence ``ENDPOINTS``.

    Raises ConfigurationError for a file that cannot be imported or has none, and for an endpoint that cannot be.
    """
    endpoints = dict(CATALOGUE)
    for file in files:
        for endpoint in _read(file):
            if fault := _fault(endpoint, endpoints):
                raise ConfigurationError(f"endpoint_files: {file}: {fault}")
            endpoints[endpoint.id] = endpoint
    return endpoints


def _read(file: Path) -> Iterable[Any]:
    # Pydantic looks for the names in annotations where the module is registered.
    name = f"stillmotion_endpoints_{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:12]}"
    specification = importlib.util.spec_from_file_location(name, file)
    if specification is None or specification.loader is None:
        raise ConfigurationError(f"endpoint_files: {file} is no Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except Exception as error:
        raise ConfigurationError(f"endpoint_files: {file}: {type(error).__name__}: {error}") from error
    try:
        return tuple(module.ENDPOINTS)
    except (AttributeError, TypeError):
        raise ConfigurationError(f"endpoint_files: {file} has no sequence ENDPOINTS") from None


def _fault(endpoint: Any, known: Mapping[str, Endpoint]) -> str | None:
    if not isinstance(endpoint, Endpoint):
        return f"{endpoint!r} is no Endpoint"
    if not ID.fullmatch(endpoint.id) or not _ROUTES.isdisjoint(endpoint.id.split("/")[2:]):
        return f"{endpoint.id!r} is no endpoint id: write owner/alias or owner/alias/path"
    if endpoint.id in known:
        return f"there is an endpoint {endpoint.id!r} already"
    if "sync_mode" in endpoint.input.model_fields and "video" not in endpoint.output.model_fields:
        return f"{endpoint.id}: sync_mode needs an output with a video"
    return None
