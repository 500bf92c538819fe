"""fal's own Python client, unchanged, over TLS, with nothing but the environment that client-env prints.

The client runs in a process of its own: it reads its environment at import, and it leaks sockets.
"""

import json
from pathlib import Path

import pytest

from requirements import need_package
from serving import serving, small

PROGRAMS = {name: (Path(__file__).parent / f"{name}_program.py").read_text() for name in ("sync", "async")}


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What both programs report, from one server at the mock engine's usual pace."""
    need_package("fal_client", "pip install 'stillmotion[demo]'")
    with serving(tmp_path_factory.mktemp("client")) as server:
        arguments = json.dumps(small(seed=11, num_frames=17))
        yield {name: server.run_client(program, arguments) for name, program in PROGRAMS.items()}, server.https


@pytest.mark.parametrize("client", PROGRAMS)
def test_every_call_of_the_client_works(said, client):
    reports, url = said
    report = reports[client]
    assert report["subscribe"]["seed"] == 11
    assert report["subscribe"]["kinds"][-1] == "Completed"
    assert report["subscribe"]["progress_logs"] >= 1, "InProgress was seen, with a log line"
    assert report["iter_events"]["kinds"][-1] == "Completed"
    assert "InProgress" in report["iter_events"]["kinds"]
    assert report["iter_events"]["video"]["num_frames"] == 17
    assert report["iter_events"]["video"]["url"].startswith(url + "/files/")
    assert report["handle_equality"], "the URLs that we return are those that the client builds itself"
    assert report["status"]["logs_without"] is None
    assert any("mock engine" in line for line in report["status"]["logs_with"])
    assert report["status"]["stable"]
    assert report["status"]["inference_time"] > 0
    assert report["result_equality"]
    assert report["run"] == 17
    assert report["cancel"] == {"kind": "Completed", "error_type": "client_cancelled"}
    assert report["cancelled_result"] == {"status": 499, "error_type": "client_cancelled"}
    for call in ("run", "subscribe"):
        assert report[f"faulty_{call}"] == {"status": 422, "field": ["body", "num_frames"]}
