"""What this server can serve right now, said plainly: which bundle, whose terms, and whether it is the real thing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from stillmotion.bundles.licence import Licence
from stillmotion.endpoints.endpoint import Endpoint
from stillmotion.job import Family, Model
from stillmotion.service.about import About
from stillmotion.service.engines import Engine
from stillmotion.service.models import Models

Kind = Literal["checkpoint", "demonstration", "mock"]

NAMES: Mapping[Family, str] = {"ltx-2": "LTX-2", "ltx-2.3": "LTX-2.3"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One endpoint as it is served."""

    endpoint: str
    bundle: str
    family: Family
    meant_for: Family
    """Of the weights that the endpoint's documents are about."""
    kind: Kind
    licence: Licence | None
    warm: bool
    """An engine has the bundle in memory."""
    available: bool
    """An engine takes requests for it."""
    note: str
    """A sentence for people."""


def served(endpoints: Mapping[str, Endpoint], models: Models, engines: Iterable[Engine], about: About) -> list[Served]:
    """Every endpoint, in the catalogue's order."""
    found, working = [], list(engines)
    for endpoint in endpoints.values():
        model = models.of(endpoint.id)
        kind = _kind(model, about)
        found.append(
            Served(
                endpoint=endpoint.id,
                bundle=model.name,
                family=model.family,
                meant_for=endpoint.model_family,
                kind=kind,
                licence=about.licences.get(model.name),
                # The mock holds nothing that would have to be loaded.
                warm=kind == "mock" or any(engine.model == model.name for engine in working),
                available=any(endpoint.id in engine.endpoints and not engine.withdrawn for engine in working),
                note=_note(kind, model, endpoint.model_family),
            )
        )
    return found


def _kind(model: Model, about: About) -> Kind:
    if about.engine == "mock":
        return "mock"
    return "demonstration" if model.demonstration else "checkpoint"


def _note(kind: Kind, model: Model, meant_for: Family) -> str:
    match kind:
        case "mock":
            return "No model: the mock engine moves a window over the picture. Everything else is real."
        case "demonstration":
            return f"{model.name} is a demonstration model: it shows how everything works, not what LTX-2 can do."
        case "checkpoint" if model.family != meant_for:
            other = NAMES[meant_for]
            return f"{model.name} is a real {NAMES[model.family]} checkpoint; this endpoint is meant for {other}."
        case "checkpoint":
            return f"{model.name} is a real {NAMES[model.family]} checkpoint."
