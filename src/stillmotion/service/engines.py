"""The engines of this process: what each may hold, what it has in memory, and whether it takes requests."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

from stillmotion.errors import NotFound
from stillmotion.executor.base import Executor
from stillmotion.service.models import Models
from stillmotion.store.records import Selection

EngineState = Literal["active", "draining", "drained"]


@dataclass(slots=True, kw_only=True)
class Engine:
    """One executor, and what the claimers need to know of it."""

    name: str
    executor: Executor
    slots: int
    models: tuple[str, ...]
    endpoints: tuple[str, ...]
    """Those whose model it holds: it claims for no other."""
    running: set[str] = field(default_factory=set)
    """Ids of the requests that it works at."""
    withdrawn: bool = False
    """It takes no more requests."""
    model: str | None = None
    """In memory since its last request."""
    weights: str = ""
    """``Endpoint.weights`` of its last request: those LoRAs are merged."""

    @property
    def state(self) -> EngineState:
        if not self.withdrawn:
            return "active"
        return "draining" if self.running else "drained"


class Engines:
    """All engines by name, and which model each endpoint is made with.

    ``patience``: seconds after which a request is served in its turn, although another one would need no change of
    weights.
    """

    def __init__(self, engines: Iterable[Engine], models: Models, *, patience: float) -> None:
        self._engines = {engine.name: engine for engine in engines}
        self._patience = patience
        self.models = models

    @classmethod
    async def start(
        cls,
        executors: Mapping[str, Executor],
        choice: Mapping[str, str],
        endpoints: Iterable[str],
        *,
        patience: float,
    ) -> Self:
        """Asks every executor what it can do. Raises ConfigurationError or BundleError."""
        told = {name: await executor.capabilities() for name, executor in executors.items()}
        models = Models((model for able in told.values() for model in able.models), choice, endpoints)
        engines = []
        for name, executor in executors.items():
            held = tuple(model.name for model in told[name].models)
            engines.append(
                Engine(
                    name=name,
                    executor=executor,
                    slots=told[name].slots,
                    models=held,
                    endpoints=models.endpoints_of(held),
                )
            )
        return cls(engines, models, patience=patience)

    def __iter__(self) -> Iterator[Engine]:
        return iter(self._engines.values())

    def get(self, name: str) -> Engine:
        """Raises NotFound."""
        if name not in self._engines:
            raise NotFound(f"There is no engine {name!r}; there is {', '.join(self._engines)}")
        return self._engines[name]

    def selection(self, engine: Engine) -> Selection:
        """Which waiting request ``engine`` would do best next."""
        warm = self.models.endpoints_of((engine.model,)) if engine.model else ()
        return Selection(
            endpoints=engine.endpoints,
            warm=warm,
            weights=engine.weights,
            impatient_before=time.time() - self._patience,
        )
