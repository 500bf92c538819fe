"""A server that nobody configured, and so has nano."""

from collections.abc import Iterator

import pytest
from filming import NANO, Studio

from requirements import need_package
from serving import serving


@pytest.fixture(scope="session")
def nano() -> None:
    """What the trained model needs to run."""
    need_package("torch", "pip install 'stillmotion[engine]'")


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory, nano: None) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("nano")
    settings = {
        "models": folder / "models",
        "threads": 1,  # on canvases this small two mostly wait for each other
        "lora_folder": NANO,
        "fetch_allow": "127.0.0.1",
        "card_samples": "false",  # idle engines would make videos of their own
        # A file that says how it was made would differ where the requests do.
        "embed_settings": "false",
    }
    with serving(folder / "data", engine="process", **settings) as server, server.client() as client:
        yield Studio(server, client)


@pytest.fixture(params=["coffee.png", "chelsea.png"])
def photo(request: pytest.FixtureRequest) -> str:
    return str(request.param)
