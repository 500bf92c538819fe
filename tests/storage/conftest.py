"""Two servers for all tests that leave them as they found them: one as it comes, one with bounds that are soon met."""

from collections.abc import Iterator

import pytest
from storage_wire import SMALL_FILE, SMALL_PART

from serving import Server, serving


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("storage"), mock_seconds=0.1) as server:
        yield server


@pytest.fixture(scope="package")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Small files and smaller parts."""
    bounds = {"max_upload_bytes": SMALL_FILE, "max_upload_part_bytes": SMALL_PART}
    with serving(tmp_path_factory.mktemp("narrow"), **bounds) as server:
        yield server
