"""The settings of prompt expansion."""

import pytest

from stillmotion.errors import ConfigurationError
from stillmotion.settings import Settings

SECRET = "sk-4f1c9a77d2"


@pytest.mark.parametrize("given", [{}, {"expansion_url": "http://127.0.0.1:1/v1"}, {"expansion_model": "m"}])
def test_a_server_needs_its_address_and_its_model(given: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="expansion_url and expansion_model"):
        Settings.load(expansion="server", expansion_key=SECRET, **given)


def test_the_key_is_read_from_the_environment_and_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLMOTION_EXPANSION_KEY", SECRET)
    settings = Settings.load(expansion="server", expansion_url="http://127.0.0.1:1/v1", expansion_model="m")
    assert settings.expansion_key is not None
    assert settings.expansion_key.get_secret_value() == SECRET
    assert SECRET not in repr(settings) + str(settings) + str(settings.model_dump())
