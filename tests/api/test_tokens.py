"""Tokens for browsers: what they are good for, for how long, and that nothing else is."""

import time

import pytest

from serving import APP, ENDPOINT, serving, small
from stillmotion.errors import Unauthorized
from stillmotion.files.rotating_secrets import RotatingSecrets
from stillmotion.service.access_tokens import AccessTokens, Grant
from stillmotion.service.keys import LOCAL, Keys, new_key
from stillmotion.service.signatures import LONGEST_SECONDS, Signatures
from stillmotion.store import keys as rows
from stillmotion.store.sqlite import SqliteStore
from stillmotion.store.sqlite_beside import write_beside

WIDE = {"host": "127.1", "safety": "off", "mock_seconds": 0.05}
ALIAS = APP.partition("/")[2]


def make_key(data, name):
    key, transaction = new_key(name, "api")
    write_beside(data / "stillmotion.db", transaction)
    return key


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("tokens"), **WIDE) as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def alice(server):
    return {"authorization": f"Key {make_key(server.data, 'alice')}"}


def token(client, headers, apps=(ALIAS,), path="/rest/tokens/", **body):
    return client.post(path, json={"allowed_apps": list(apps), **body}, headers=headers)


def run(client, token, endpoint=ENDPOINT, **headers):
    return client.post(f"/run/{endpoint}", params={"fal_jwt_token": token}, json=small(), headers=headers)


def test_both_forms_of_asking(client, alice):
    for path in ("/rest/tokens/", "/rest/tokens"):
        answer = token(client, alice, path=path, token_expiration=120)
        assert answer.status_code == 201
        assert isinstance(answer.json(), str)
        assert answer.headers["cache-control"] == "no-store"
    newer = token(client, alice, (f"{ENDPOINT}/realtime",), path="/rest/tokens/realtime", duration=120).json()
    assert newer.keys() == {"token"}
    for each in (answer.json(), newer["token"]):
        assert run(client, each).status_code == 200


def test_fals_host_names_lead_to_it(mock_server):
    with mock_server.client() as client:
        for host in ("rest.fal.ai", "rest.alpha.fal.ai"):
            answer = token(client, {"host": host}, path="/tokens/")
            assert (answer.status_code, type(answer.json())) == (201, str)


@pytest.mark.parametrize(
    ("apps", "covered"),
    [
        ((ALIAS,), True),
        ((APP,), True),
        ((ENDPOINT,), True),
        ((f"/{ENDPOINT}/realtime/",), True),
        ((f"{ENDPOINT}/stream",), True),
        (("ltx-2", "ltx-2.3", ALIAS), True),
        (("ltx-2",), False),
        (("ltx-2-19",), False),
        (("fal-ai",), False),
        (("someone/" + ALIAS,), False),
        ((f"{APP}/text-to-video",), False),
        (("*",), False),
    ],
)
def test_it_is_for_its_applications_alone(client, alice, apps, covered):
    answer = run(client, token(client, alice, apps).json())
    assert answer.status_code == (200 if covered else 403)
    if not covered:
        assert answer.json()["detail"] == f"The token is not for {ENDPOINT}"


def test_what_it_makes_is_its_keys_tenants(client, server, alice):
    answer = run(client, token(client, alice).json())
    request = f"/queue/{APP}/requests/{answer.headers['x-fal-request-id']}"
    bob = {"authorization": f"Key {make_key(server.data, 'bob')}"}
    assert client.get(request, headers=alice).status_code == 200
    assert client.get(request, headers=bob).status_code == 404


def test_it_runs_and_streams_and_does_nothing_else(client, alice):
    made = token(client, alice).json()
    query = {"params": {"fal_jwt_token": made}}
    answer = client.post(f"/run/{ENDPOINT}/stream", **query, json=small())
    assert answer.headers["content-type"] == "text/event-stream"
    assert '"video"' in answer.text
    for headers in ({}, {"authorization": f"Bearer {made}"}, {"authorization": f"Key {made}"}):
        for method, path in (
            ("POST", f"/queue/{ENDPOINT}"),
            ("POST", "/rest/tokens/"),
            ("POST", "/rest/storage/auth/token"),
            ("GET", "/v1/models/usage"),
            ("GET", "/v1/engines"),
        ):
            assert client.request(method, path, **query, json=small(), headers=headers).status_code == 401, path
    # A key that is sent beside it is what counts, also one that does not work.
    assert run(client, made, authorization="Key no:body").status_code == 401
    assert run(client, "nonsense", **alice).status_code == 200


def test_its_time_is_short(client, alice):
    made = token(client, alice, token_expiration=1).json()
    end = time.time() + 10
    while run(client, made).status_code == 200:
        assert time.time() < end
    refused = run(client, made)
    assert (refused.status_code, refused.json()["detail"]) == (401, "The token is invalid or has expired")


@pytest.mark.parametrize("seconds", [0, -1, 86401, 1.5, "60", True, None, [], 10**30])
def test_its_time_is_bounded(client, alice, seconds):
    for name in ("token_expiration", "duration"):
        answer = token(client, alice, **{name: seconds})
        assert (answer.status_code, answer.json()["error_type"]) == (400, "bad_request")


@pytest.mark.parametrize("apps", [None, [], "ltx-2", [1], [""], ["x" * 201], ["x"] * 51, {"a": 1}])
def test_it_is_for_some_applications(client, alice, apps):
    answer = client.post("/rest/tokens/", json={"allowed_apps": apps}, headers=alice)
    assert (answer.status_code, answer.json()["error_type"]) == (400, "bad_request")


def test_no_part_of_it_can_be_changed(client, server, alice):
    made = token(client, alice).json()
    payload, _, signature = made.partition(".")
    other = token(client, alice, ("ltx-2",)).json().partition(".")[0]
    changed = [f"{other}.{signature}", payload, f"{payload}.", f".{signature}", ".", "", "é.é", f"{made}A", f"{made}="]
    changed += [f"{payload}.{signature.swapcase()}", f"{payload}A.{signature}", f"{made}.{signature}"]
    upload = client.post("/rest/storage/auth/token", json={}, headers=alice).json()["token"]
    for each in [*changed, upload]:
        assert run(client, each).status_code == 401, each
    log = server.log.read_text()
    assert made not in log
    assert signature not in log


def test_on_loopback_too_a_token_that_is_none_is_refused(mock_server):
    with mock_server.client() as client:
        assert run(client, token(client, {}).json()).status_code == 200
        assert run(client, "nonsense").status_code == 401


def test_it_ends_with_its_key(client, server):
    key = make_key(server.data, "carol")
    made = token(client, {"authorization": f"Key {key}"}).json()
    assert run(client, made).status_code == 200
    assert write_beside(server.data / "stillmotion.db", rows.revoke(key.partition(":")[0], now=time.time()))
    assert run(client, made).status_code == 401


async def test_one_of_a_loopback_server_is_worth_nothing_where_keys_are_asked_for(tmp_path):
    from stillmotion.endpoints.catalogue import CATALOGUE

    store = await SqliteStore.open(tmp_path / "db")
    try:
        signatures = Signatures(RotatingSecrets(tmp_path / "keys.json", longest=LONGEST_SECONDS), "token")
        loopback = AccessTokens(signatures, Keys(store, required=False))
        made = await loopback.issue(LOCAL, [ALIAS], 60)
        assert await loopback.caller(made, CATALOGUE[ENDPOINT]) == LOCAL
        with pytest.raises(Unauthorized):
            await AccessTokens(signatures, Keys(store, required=True)).caller(made, CATALOGUE[ENDPOINT])
    finally:
        await store.close()


def test_every_endpoint_is_covered_by_its_own_alias_alone():
    from stillmotion.endpoints.catalogue import CATALOGUE

    aliases = {endpoint.app.partition("/")[2] for endpoint in CATALOGUE.values()}
    for endpoint in CATALOGUE.values():
        covering = [alias for alias in aliases if Grant(None, (alias,), 0).covers(endpoint)]
        assert covering == [endpoint.app.partition("/")[2]]
