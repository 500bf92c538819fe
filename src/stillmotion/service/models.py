"""Which model makes which endpoint's videos."""

from collections.abc import Collection, Iterable, Mapping

from stillmotion.errors import ConfigurationError
from stillmotion.job import Model

ALL = "all"


class Models:
    """The operator's choice of model by endpoint, over the models that the executor has.

    ``choice`` maps endpoint ids, or ``all``, to model names; without any, the executor's first model serves all.
    Raises ConfigurationError when it names an endpoint or a model that does not exist.
    """

    def __init__(self, available: Iterable[Model], choice: Mapping[str, str], endpoints: Iterable[str]) -> None:
        models = {model.name: model for model in available}
        if not models:
            raise ConfigurationError("the engine has no model")
        for name in choice.values():
            if name not in models:
                raise ConfigurationError(f"no model is called {name!r}; there is {', '.join(sorted(models))}")
        known = set(endpoints)
        if strangers := choice.keys() - known - {ALL}:
            raise ConfigurationError(f"no endpoint is called {', '.join(sorted(strangers))}")
        default = choice.get(ALL, next(iter(models)))
        self._by_endpoint = {endpoint: models[choice.get(endpoint, default)] for endpoint in sorted(known)}

    def endpoints_of(self, names: Collection[str | None]) -> tuple[str, ...]:
        """The endpoints that one of the models called ``names`` makes."""
        return tuple(endpoint for endpoint, model in self._by_endpoint.items() if model.name in names)

    def of(self, endpoint: str) -> Model:
        return self._by_endpoint[endpoint]
