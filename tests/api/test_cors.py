"""Pages of origins that are allowed read every answer; of others, none is given."""

import pytest

from serving import APP, ENDPOINT, serving, small, submit, wait

PAGE = "http://localhost:5173"
ALLOWED = "https://app.example.com"
ASKED = "authorization,content-type,x-fal-queue-priority,x-fal-object-lifecycle-preference"


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cors")
    with (
        serving(folder, mock_seconds=0.1, allowed_origins=ALLOWED, max_body_bytes=100_000) as server,
        server.client() as client,
    ):
        yield client


def preflight(client, path, method, origin):
    headers = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": ASKED}
    return client.options(path, headers=headers)


@pytest.mark.parametrize("origin", [PAGE, ALLOWED])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"/queue/{ENDPOINT}"),
        ("POST", f"/run/{ENDPOINT}"),
        ("PUT", f"/queue/{APP}/requests/x/cancel"),
        ("POST", "/rest/storage/upload/initiate"),
        ("PUT", "/cdn/uploads/x"),
        ("GET", "/v1/models"),
        ("POST", "/nowhere"),
    ],
)
def test_a_preflight_allows_what_it_asks_for(client, origin, method, path):
    answer = preflight(client, path, method, origin)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["access-control-allow-origin"] == origin
    assert method in answer.headers["access-control-allow-methods"].split(", ")
    assert answer.headers["access-control-allow-headers"] == ASKED
    assert "origin" in answer.headers["vary"]


def test_a_public_page_that_is_allowed_may_reach_loopback(client):
    headers = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Private-Network": "true"}
    answer = client.options(f"/run/{ENDPOINT}", headers={"Origin": ALLOWED, **headers})
    assert answer.headers["access-control-allow-private-network"] == "true"


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_foreign_pages_get_nothing(client, origin):
    for answer in (
        preflight(client, f"/run/{ENDPOINT}", "POST", origin),
        client.get("/health/live", headers={"Origin": origin}),
    ):
        assert answer.status_code == 403
        assert not [name for name in answer.headers if name.startswith("access-control")]


def readable(answer, origin=PAGE):
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert {"x-fal-request-id", "x-fal-error-type", "x-fal-request-timeout-type", "x-fal-billable-units"} <= {*exposed}
    assert "origin" in [each.strip() for each in answer.headers["vary"].split(",")]
    return answer.headers["access-control-allow-origin"] == origin


def test_answers_and_errors_can_be_read(client):
    page = {"Origin": PAGE}
    request = submit(client)
    wait(client, request)
    file = client.get(request["response_url"], headers=page).json()["video"]["url"]
    answers = {
        200: client.get(request["status_url"], headers=page),
        206: client.get(file, headers={**page, "Range": "bytes=0-9"}),
        404: client.get(f"/queue/{APP}/requests/x", headers=page),
        405: client.delete(f"/queue/{ENDPOINT}", headers=page),
        413: client.post(f"/run/{ENDPOINT}", headers=page, content=b"x" * 200_000),
        422: client.post(f"/run/{ENDPOINT}", headers=page, json={}),
        400: client.post(f"/run/{ENDPOINT}", headers={**page, "X-Fal-Request-Timeout": "no"}, json=small()),
    }
    for status, answer in answers.items():
        assert answer.status_code == status, answer.text
        assert readable(answer), status
    with client.stream("GET", request["status_url"] + "/stream", headers=page) as stream:
        assert readable(stream)


def test_programs_are_not_told_of_pages(client):
    answer = client.get("/health/live")
    assert not [name for name in answer.headers if name.startswith("access-control")]
