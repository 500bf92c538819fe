"""Who may read a file: by its URL, with a key, and with an address that its owner has signed."""

import json
import time
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import ENDPOINT, picture, serving, small, wait
from stillmotion.errors import BadRequest
from stillmotion.service.acl import DECISIONS, Acl
from stillmotion.service.signed_urls import without_signature
from stillmotion.store.sqlite_beside import write_beside

WIDE = {"host": "127.1", "safety": "off", "mock_seconds": 0.05}
"""127.1 is 127.0.0.1 to the system and an address like any other to us: one that asks for keys."""
ABSENT = {"detail": "File not found"}
LIFECYCLE, PREFERENCE = "x-fal-object-lifecycle", "x-fal-object-lifecycle-preference"


def make_key(data, name, scope="api"):
    from stillmotion.service.keys import new_key

    key, transaction = new_key(name, scope)
    write_beside(data / "stillmotion.db", transaction)
    return {"authorization": f"Key {key}"}


def acl(default=None, **rules):
    told = {"default": default} if default else {}
    return {**told, "rules": [{"user": user, "decision": decision} for user, decision in rules.items()]}


def lifecycle(value, header=LIFECYCLE):
    return {header: json.dumps({"initial_acl": value})}


@dataclass
class World:
    """A server that asks for keys, and three of its tenants."""

    server: object
    client: object
    alice: dict
    bob: dict
    root: dict

    def upload(self, value=None, content=b"private words", **more):
        headers = {**self.alice, **(lifecycle(value) if value else {}), "content-type": "text/plain", **more}
        answer = self.client.post("/cdn/files/upload", content=content, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["access_url"]

    def sign(self, url, seconds=60, key=None):
        query = {"url": url}
        return self.client.post(
            "/v1/storage/files/sign", params=query, json={"expiration_seconds": seconds}, headers=key or self.alice
        )

    def signed(self, url, seconds=60):
        return self.sign(url, seconds).json()["signed_url"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("access"), **WIDE) as server, server.client() as client:
        keys = [make_key(server.data, name) for name in ("alice", "bob")]
        yield World(server, client, *keys, make_key(server.data, "root", "admin"))


def seen(answer):
    """Everything of an answer that tells one file from another."""
    kept = {name: value for name, value in answer.headers.items() if name not in ("date", "x-fal-request-id")}
    return answer.status_code, answer.content, kept


@pytest.mark.parametrize("decision", DECISIONS)
def test_what_each_decision_is_to_whom(world, decision):
    url = world.upload(acl(decision))
    for method in ("GET", "HEAD"):
        for reader in ({}, world.bob, world.root, {"authorization": "Key no:body"}, {"authorization": "Bearer x"}):
            answer = world.client.request(method, url, headers=reader)
            expected = {"allow": 200, "forbid": 403, "hide": 404}[decision]
            assert answer.status_code == expected, reader
        assert world.client.request(method, url, headers=world.alice).status_code == 200
    refused = world.client.get(url)
    if decision == "forbid":
        assert refused.json()["error_type"] == "forbidden"
        assert "etag" not in refused.headers
    if decision == "hide":
        shard, _, name = url.partition("/files/b/")[2].partition("/")
        absent = world.client.get(f"/cdn/files/b/{shard}/{'0' * 32}_{name[33:]}")
        assert seen(refused) == seen(absent)
        assert refused.json() == ABSENT


def test_one_that_is_not_public_is_kept_by_its_reader_alone(world):
    url = world.upload(acl("forbid"))
    told = world.client.get(url, headers=world.alice)
    assert told.headers["cache-control"] == "private, no-cache"
    again = {"if-none-match": told.headers["etag"]}
    assert world.client.get(url, headers={**world.alice, **again}).status_code == 304
    # Who knows the ETag is told nothing by it.
    assert world.client.get(url, headers=again).status_code == 403
    assert world.client.get(world.upload(acl("allow"))).headers["cache-control"].startswith("public,")


def test_rules_are_for_tenants_and_the_rest_is_dropped(world):
    url = world.upload(acl("hide", bob="allow", root="forbid", nobody="allow"))
    assert world.client.get(url, headers=world.bob).status_code == 200
    assert world.client.get(url, headers=world.root).status_code == 403
    assert world.client.get(url).status_code == 404
    told = world.client.get("/v1/storage/files/acl", params={"url": url}, headers=world.alice)
    assert told.json() == acl("hide", bob="allow", root="forbid")
    # A tenant of that name who comes later gains nothing.
    late = make_key(world.server.data, "nobody")
    assert world.client.get(url, headers=late).status_code == 404


def test_the_owner_is_never_shut_out(world):
    url = world.upload(acl("hide", alice="hide"))
    assert world.client.get(url, headers=world.alice).status_code == 200


def test_an_upload_token_reads_what_its_key_reads(world):
    url = world.upload(acl("hide"))
    token = world.client.post("/rest/storage/auth/token", json={}, headers=world.alice).json()["token"]
    other = world.client.post("/rest/storage/auth/token", json={}, headers=world.bob).json()["token"]
    assert world.client.get(url, headers={"authorization": f"Bearer {token}"}).status_code == 200
    assert world.client.get(url, headers={"authorization": f"Bearer {other}"}).status_code == 404


def test_the_owner_changes_it_and_nobody_else_sees_it(world):
    url = world.upload()
    query = {"params": {"url": url}}
    assert world.client.get("/v1/storage/files/acl", **query, headers=world.alice).json() == acl("allow")
    for stranger in (world.bob, world.root):
        for answer in (
            world.client.get("/v1/storage/files/acl", **query, headers=stranger),
            world.client.put("/v1/storage/files/acl", **query, headers=stranger, json=acl("hide")),
            world.sign(url, key=stranger),
        ):
            assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found")
        assert world.client.post(f"{url}/sign", headers=stranger).status_code == 404
    assert world.client.get(url).status_code == 200
    changed = world.client.put("/v1/storage/files/acl", **query, headers=world.alice, json=acl("forbid", bob="allow"))
    assert changed.json() == acl("forbid", bob="allow")
    assert world.client.get(url).status_code == 403
    assert world.client.get(url, headers=world.bob).status_code == 200
    opened = world.client.put("/v1/storage/files/acl", **query, headers=world.alice, json=acl("allow"))
    assert opened.json() == acl("allow")
    assert world.client.get(url).status_code == 200


def test_all_ways_of_sending_say_it(world):
    headers = {**world.alice, **lifecycle(acl("hide"))}
    body = {"file_name": "a.bin", "content_type": "application/octet-stream"}
    whole = world.client.post("/rest/storage/upload/initiate", json=body, headers=headers).json()
    assert world.client.put(whole["upload_url"], content=b"x").status_code == 200
    parts = world.client.post("/rest/storage/upload/initiate-multipart", json=body, headers=headers).json()
    sent = world.client.put(f"{parts['upload_url']}/1", content=b"x").json()
    assert world.client.post(f"{parts['upload_url']}/complete", json={"parts": [sent]}).status_code == 200
    begun = world.client.post("/cdn/files/upload/multipart", headers={**headers, "content-type": "text/plain"}).json()
    base = f"{begun['access_url']}/multipart/{begun['uploadId']}"
    sent = world.client.put(f"{base}/1", content=b"x", headers=world.alice).json()
    done = world.client.post(f"{base}/complete", json={"parts": [sent]}, headers=world.alice)
    assert done.status_code == 200, done.text
    preferred = world.upload(**lifecycle(acl("hide"), PREFERENCE))
    for url in (whole["file_url"], parts["file_url"], begun["access_url"], preferred):
        assert world.client.get(url).status_code == 404
        assert world.client.get(url, headers=world.alice).status_code == 200


@pytest.mark.parametrize(
    "value",
    [
        "hide",
        [],
        {"default": "private"},
        {"default": 1},
        {"rules": {}},
        {"rules": ["x"]},
        {"rules": [{"user": "bob"}]},
        {"rules": [{"user": "bob", "decision": "maybe"}]},
        {"rules": [{"user": "", "decision": "allow"}]},
        {"rules": [{"user": "u", "decision": "allow"}] * 101},
    ],
)
def test_what_is_no_acl_makes_no_public_file(world, value):
    headers = {**world.alice, **lifecycle(value)}
    for path in ("/cdn/files/upload", "/cdn/files/upload/multipart", "/rest/storage/upload/initiate"):
        answer = world.client.post(path, json={}, headers=headers)
        assert (answer.status_code, answer.json()["error_type"]) == (400, "bad_request")
    headers = {**world.alice, **lifecycle(value, PREFERENCE)}
    assert world.client.post(f"/queue/{ENDPOINT}", json=small(), headers=headers).status_code == 400
    with pytest.raises(BadRequest):
        Acl.read(value)


@given(
    st.sampled_from([None, *DECISIONS]),
    st.dictionaries(st.text(min_size=1, max_size=64), st.sampled_from(DECISIONS), max_size=9),
)
def test_an_acl_is_stored_as_it_was_read(default, rules):
    told = {"default": default, "rules": [{"user": user, "decision": each} for user, each in rules.items()]}
    read = Acl.read(told)
    assert (read.default, dict(read.rules)) == (default, rules)
    assert Acl.stored(read.text()) == read


def test_outputs_have_the_acl_of_their_request(world):
    headers = {**world.alice, **lifecycle(acl("hide", bob="allow"), PREFERENCE)}
    ran = world.client.post(f"/run/{ENDPOINT}", json=small(), headers=headers).json()
    request = world.client.post(f"/queue/{ENDPOINT}", json=small(), headers=headers).json()
    world.client.headers.update(world.alice)
    wait(world.client, request)
    del world.client.headers["authorization"]
    queued = world.client.get(request["response_url"], headers=world.alice).json()
    for result in (ran, queued):
        url = result["video"]["url"]
        refused = world.client.get(url)
        assert seen(refused) == seen(world.client.get(f"/files/{'0' * 40}.mp4"))
        assert world.client.get(url, headers=world.bob).status_code == 200
        assert len(world.client.get(url, headers=world.alice).content) == result["video"]["file_size"]
        signed = world.signed(url)
        part = world.client.get(signed, headers={"range": "bytes=4-7"})
        assert (part.status_code, part.content) == (206, b"ftyp")


def test_what_is_made_of_an_output_is_as_private_as_the_output(world):
    headers = {**world.alice, **lifecycle(acl("hide"), PREFERENCE)}
    ran = world.client.post(f"/run/{ENDPOINT}", json=small(video_output_type="PRORES4444 (.mov)"), headers=headers)
    request = f"/v1/requests/{ran.headers['x-fal-request-id']}"
    urls = [ran.json()["video"]["url"]]
    for copy in ("poster", "playable"):
        told = world.client.get(f"{request}/{copy}", params={"redirect": "false"}, headers=world.alice)
        urls.append(told.json()["url"])
    assert len(set(urls)) == 3
    assert [world.client.get(url).status_code for url in urls] == [404, 404, 404]
    assert [world.client.get(url, headers=world.alice).status_code for url in urls] == [200, 200, 200]
    query = {"params": {"url": urls[0]}, "headers": world.alice}
    assert world.client.put("/v1/storage/files/acl", **query, json=acl("allow")).status_code == 200
    assert [world.client.get(url).status_code for url in urls] == [200, 200, 200]


def test_a_signed_url_is_readable_by_anybody_until_its_time(world):
    url = world.upload(acl("hide"), content=bytes(range(100)))
    signed = world.signed(url)
    assert signed.startswith(f"{url}?identity=")
    assert world.client.get(signed).content == bytes(range(100))
    assert world.client.head(signed).status_code == 200
    part = world.client.get(signed, headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, bytes(range(10, 20)))
    # Beside a key that may not: the more generous of the two counts.
    assert world.client.get(signed, headers=world.bob).status_code == 200
    elsewhere = world.signed(world.upload(acl("hide"))).partition("?")[2]
    assert world.client.get(f"{url}?{elsewhere}").status_code == 404
    short = world.signed(url, 1)
    assert world.client.get(short).status_code == 200
    end = time.time() + 10
    while world.client.get(short).status_code == 200:
        assert time.time() < end
        time.sleep(0.05)
    assert world.client.get(short).status_code == 404


def test_no_bit_of_a_signed_url_can_be_changed(world):
    url = world.upload(acl("forbid"))
    identity = world.signed(url).partition("?identity=")[2]
    expires, _, signature = identity.partition(".")
    changed = [f"{int(expires) + 1}.{signature}", f"0{identity}", f"{expires}.", f".{signature}", expires, "", "é.é"]
    changed += [f"{expires}.{signature}A", f"{expires}.{signature[:-1]}", f" {identity}", f"{identity}\n"]
    for index in range(len(signature)):
        other = "A" if signature[index] != "A" else "B"
        changed.append(f"{expires}.{signature[:index]}{other}{signature[index + 1 :]}")
    for each in changed:
        assert world.client.get(url, params={"identity": each}).status_code == 403, each
    assert world.client.get(url, params={"identity": identity}).status_code == 200


@pytest.mark.parametrize("seconds", [0, -1, 604801, 1.5, "60", True, None])
def test_the_time_of_a_signature_is_bounded(world, seconds):
    url = world.upload(acl("hide"))
    refused = world.sign(url, seconds)
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "validation_error")
    if seconds is not None:
        assert world.client.post(f"{url}/sign", json={"duration": seconds}, headers=world.alice).status_code == 400


def test_the_cdns_own_form_of_signing(world):
    url = world.upload(acl("hide"))
    for body in ({}, {"duration": 604800, "scope": ["read"]}):
        signed = world.client.post(f"{url}/sign", json=body, headers=world.alice).json()["signed_url"]
        assert signed.startswith(f"{url}?identity=")
        assert world.client.get(signed).status_code == 200
    assert world.client.post(f"{url}/sign", json={"scope": ["write"]}, headers=world.alice).status_code == 400
    assert world.client.post(f"{url}/sign").status_code == 401


@pytest.mark.parametrize(
    "url", ["", "x", "http://[", "http://h/files/b/x", "http://h/files/none.mp4", "file:///etc/passwd"]
)
def test_what_is_no_url_of_ours(world, url):
    for answer in (
        world.client.get("/v1/storage/files/acl", params={"url": url}, headers=world.alice),
        world.client.put("/v1/storage/files/acl", params={"url": url}, json=acl("hide"), headers=world.alice),
        world.sign(url),
    ):
        assert answer.status_code == (404 if url else 400)


def run(world, key, url):
    return world.client.post(f"/run/{ENDPOINT}", json=small(image_url=url), headers=key)


def test_a_request_reads_what_its_tenant_may_read(world):
    hidden = world.upload(acl("hide"), picture(), **{"content-type": "image/png"})
    shared = world.upload(acl("forbid", bob="allow"), picture(), **{"content-type": "image/png"})
    forbidden = world.upload(acl("forbid"), picture(), **{"content-type": "image/png"})
    assert run(world, world.alice, hidden).status_code == 200
    assert run(world, world.bob, shared).status_code == 200
    assert run(world, world.bob, world.signed(hidden)).status_code == 200
    for url in (hidden, forbidden, hidden + "?identity=1.x"):
        refused = run(world, world.bob, url)
        assert (refused.status_code, refused.json()["detail"][0]["type"]) == (422, "file_download_error")
        assert refused.json()["detail"][0]["loc"] == ["body", "image_url"]


def test_a_video_does_not_hold_the_signature_of_its_picture(world):
    signed = world.signed(world.upload(acl("hide"), picture(), **{"content-type": "image/png"}))
    result = run(world, world.alice, signed).json()
    video = world.client.get(result["video"]["url"]).content
    assert signed.partition("?")[0].encode() in video
    assert signed.partition("identity=")[2].encode() not in video
    assert without_signature(f"{signed}&x=1") == f"{signed.partition('?')[0]}&x=1"


def test_no_signature_and_no_secret_is_in_a_log(world):
    url = world.upload(acl("hide"))
    signed = world.signed(url)
    world.client.get(signed)
    world.client.get(url, params={"identity": "12.canary-of-a-signature"})
    run(world, world.alice, signed)
    log = world.server.log.read_text()
    assert "attempt ended" in log
    kept = json.loads((world.server.data / "access-keys.json").read_text())
    for secret in (signed.partition("identity=")[2], "canary-of-a-signature", *(each["secret"] for each in kept)):
        assert secret not in log
    assert (world.server.data / "access-keys.json").stat().st_mode & 0o077 == 0


def test_on_loopback_no_key_is_nobody_and_any_key_the_owner(server):
    with server.client() as client:
        headers = {"content-type": "text/plain", **lifecycle(acl("hide"))}
        url = client.post("/cdn/files/upload", content=b"x", headers=headers).json()["access_url"]
        assert client.get(url).status_code == 404
        assert client.get(url, headers={"authorization": "Key any:thing"}).status_code == 200
        signed = client.post(f"{url}/sign").json()["signed_url"]
        assert client.get(signed).content == b"x"


def test_the_server_decides_where_the_owner_has_not_said(tmp_path):
    with serving(tmp_path, **WIDE, file_access="hide") as server, server.client() as client:
        alice = make_key(server.data, "alice")
        silent = client.post("/cdn/files/upload", content=b"x", headers=alice).json()["access_url"]
        named = {**alice, **lifecycle(acl(None, alice="allow"))}
        ruled = client.post("/cdn/files/upload", content=b"x", headers=named).json()["access_url"]
        public = {**alice, **lifecycle(acl("allow"))}
        opened = client.post("/cdn/files/upload", content=b"x", headers=public).json()["access_url"]
        video = client.post(f"/run/{ENDPOINT}", json=small(), headers=alice).json()["video"]["url"]
        assert [client.get(url).status_code for url in (silent, ruled, opened, video)] == [404, 404, 200, 404]
        told = client.get("/v1/storage/files/acl", params={"url": silent}, headers=alice).json()
        assert told == acl("hide")
        signed = client.post(f"{silent}/sign", headers=alice).json()["signed_url"]
        # Neither an ACL nor a signature ends with the process.
        server.stop()
        server.start()
        assert [client.get(url).status_code for url in (silent, opened, signed)] == [404, 200, 200]
