"""Parameters of the platform API: whatever is asked, the answer is an answer or a refusal that names the parameter."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from platform_wire import LORA, fault

from serving import ENDPOINT


@pytest.fixture(scope="module")
def client(mock_server):
    with mock_server.client() as client:
        yield client


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("models", {"limit": "0"}),
        ("models", {"limit": "101"}),
        ("models", {"limit": "two"}),
        ("models", {"cursor": "x"}),
        ("models", {"cursor": "WyJhIl0"}),
        ("models", {"status": "new"}),
        ("models", {"expand": "everything"}),
        ("models/usage", {"timeframe": "year"}),
        ("models/usage", {"timezone": "Mars/Base"}),
        ("models/usage", {"timezone": "America"}),
        ("models/usage", {"timezone": "../../etc/passwd"}),
        ("models/usage", {"start": "yesterday"}),
        ("models/usage", {"start": "2026-01-02", "end": "2026-01-01"}),
        ("models/usage", {"start": "0001-01-01"}),
        ("models/usage", {"end": "9999-12-31T23:59:59-23:59"}),
        ("models/usage", {"start": "2020-01-01", "timeframe": "minute"}),
        ("models/usage", {"bound_to_timeframe": "perhaps"}),
        ("models/requests/by-endpoint", {"sort_by": "cost"}),
        ("models/requests/by-endpoint", {"status": "failed"}),
        ("models/requests/by-endpoint", {"cursor": "WzEuNSwxZTNd"}),
    ],
)
def test_bad_parameters_are_named(client, path, query):
    message = fault(client.get(f"/v1/{path}", params=query), 400, "validation_error")
    assert set(query) & set(message.replace(":", "").split())


def test_unknown_paths_and_methods_have_the_platforms_shape(client):
    fault(client.get("/v1/nothing"), 404, "not_found")
    answer = client.post("/v1/models")
    fault(answer, 405, "validation_error")
    assert "GET" in answer.headers["allow"]


PATHS = ["models", "models/pricing", "models/usage", "models/requests/by-endpoint"]
PLAUSIBLE = {
    "limit": ["1", "50", "-1", "٣", "1e3"],
    "cursor": ["WzEuNSwxXQ", "WzFd", "W10", "bnVsbA", "WzFlNDAwLDFd", "WzEuMCw5OTk5OTk5OTk5OTk5OTk5OTk5OTk5XQ", "é"],
    "start": ["2026-11-01", "2026-11-01T00:00:00Z", "1971-01-01T00:00:00+14:00", "2969-12-31", "2026-W01-1"],
    "end": ["2026-11-30", "2969-12-31T23:59:59.999999-12:00", "2026-11-01 00:00:00"],
    "timezone": [
        "Europe/Berlin",
        "Pacific/Apia",
        "Africa/Monrovia",
        "utc",
        "posixrules",
        "\0",
        "x" * 5000,
        "tzdata.zi",
    ],
    "timeframe": ["minute", "hour", "day", "week", "month"],
    "bound_to_timeframe": ["true", "false"],
    "endpoint_id": [ENDPOINT, f"{ENDPOINT},{LORA}", ",", "%"],
    "status": ["success", "error", "user_error", "active"],
    "sort_by": ["ended_at", "duration"],
    "request_id": ["x", "' OR 1=1 --", "\0"],
    "expand": ["payloads", "summary", "time_series", "auth_method", "openapi-3.0", "billing"],
    "q": ["ltx", "%", "("],
    "category": ["image-to-video"],
}
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
QUERIES = st.dictionaries(st.sampled_from(sorted(PLAUSIBLE)), st.none(), max_size=5).flatmap(
    lambda names: st.fixed_dictionaries({name: st.sampled_from(PLAUSIBLE[name]) | ANY for name in names})
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(PATHS), QUERIES)
@example("models/usage", {"start": "1971-01-01", "end": "2969-12-31", "timezone": "Africa/Monrovia"})
@example("models/usage", {"start": "1971-01-01", "end": "2969-12-31", "timeframe": "week", "timezone": "Pacific/Apia"})
@example("models/requests/by-endpoint", {"start": "1971-01-01", "cursor": "WzEuMCw5MjIzMzcyMDM2ODU0Nzc1ODA3XQ"})
def test_no_query_is_a_server_error(client, path, query):
    answer = client.get(f"/v1/{path}", params=query)
    assert answer.status_code in (200, 400, 404), answer.text
    if answer.status_code != 200:
        assert answer.json()["error"]["type"] in ("validation_error", "not_found")
