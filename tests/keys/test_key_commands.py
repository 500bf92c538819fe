"""Keys on the command line, and the server that asks for them."""

import json
import subprocess
import sys
import time

import pytest

from serving import ENDPOINT, clean_environment, serving, small, wait

WIDE = {"host": "127.1", "safety": "off", "mock_seconds": 0.05}
"""127.1 is 127.0.0.1 to the system and an address like any other to us: one that others reach."""


def keys(data, *arguments):
    command = [sys.executable, "-m", "stillmotion", "keys", *arguments, "--data", str(data)]
    return subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=60)


def make_key(data, name, *options):
    done = keys(data, "create", name, *options)
    assert done.returncode == 0, done.stderr
    return {"authorization": f"Key {done.stdout.strip()}"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("keys"), **WIDE) as server:
        yield server


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


def ask(client, headers):
    return client.post(f"/queue/{ENDPOINT}", json=small(), headers=headers)


def test_a_request_needs_a_key_that_works(server, client):
    nobody = ask(client, {})
    assert (nobody.status_code, nobody.json()["detail"]) == (401, "Authorization header is required")
    for wrong in ("Key a:b", "Key", "Basic YTpi", "Bearer x", "Key " + "x" * 5000):
        answer = ask(client, {"authorization": wrong})
        assert (answer.status_code, answer.json()["detail"]) == (401, "invalid key credentials")
    mine = make_key(server.data, "alice")
    request = ask(client, mine).json()
    client.headers.update(mine)
    assert wait(client, request)["status"] == "COMPLETED"
    bearer = {"authorization": mine["authorization"].replace("Key", "Bearer")}
    assert client.get(request["response_url"], headers=bearer).status_code == 200


def test_the_secret_is_shown_once_and_kept_nowhere(server):
    done = keys(server.data, "create", "carol")
    id, secret = done.stdout.strip().split(":")
    assert len(secret) == 40
    shown = keys(server.data, "list").stdout
    assert id in shown
    assert "carol" in shown
    assert secret not in shown
    assert secret.encode() not in (server.data / "stillmotion.db").read_bytes()
    assert secret not in server.log.read_text()


def test_a_revoked_key_ends_within_seconds(server, client):
    mine = make_key(server.data, "dave")
    assert client.get("/v1/models/usage", headers=mine).status_code == 200
    id = mine["authorization"].removeprefix("Key ").partition(":")[0]
    assert keys(server.data, "revoke", id).returncode == 0
    end = time.monotonic() + 10
    while client.get("/v1/models/usage", headers=mine).status_code != 401:  # remembered for two seconds
        assert time.monotonic() < end
        time.sleep(0.1)
    again = keys(server.data, "revoke", id)
    assert (again.returncode, again.stderr) == (1, f"stillmotion: there is no key {id}, or it was revoked before\n")


def test_keys_of_one_name_see_the_same(server, client):
    first, second = make_key(server.data, "erin"), make_key(server.data, "erin")
    request = ask(client, first).json()
    assert client.get(request["status_url"], headers=second).status_code in (200, 202)


def test_engines_are_for_administrators(server, client):
    plain, admin = make_key(server.data, "frank"), make_key(server.data, "root", "--scope", "admin")
    refused = client.get("/v1/engines", headers=plain)
    assert (refused.status_code, refused.json()["error"]["type"]) == (403, "authorization_error")
    assert client.get("/v1/engines", headers=admin).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("create", "Not A Name"), "is no name for a key"),
        (("create", "x", "--scope", "root"), "scope is api or admin"),
        (("revoke", "nobody"), "there is no key nobody"),
    ],
)
def test_mistakes_are_told(server, arguments, told):
    done = keys(server.data, *arguments)
    assert done.returncode == 1
    assert told in done.stderr


def test_the_first_admin_key_is_printed_once(tmp_path):
    with serving(tmp_path, **WIDE) as server:
        (line,) = [line for line in server.log.read_text().splitlines() if "first admin key" in line]
        key = line.rpartition(" ")[2]
        with server.client() as client:
            assert client.get("/v1/engines", headers={"authorization": f"Key {key}"}).status_code == 200
        server.stop()
        server.start()
        assert server.log.read_text().count("first admin key") == 1


def test_keys_are_made_before_the_first_start_too(tmp_path):
    mine = make_key(tmp_path / "data", "alice", "--scope", "admin")
    with serving(tmp_path / "data", **WIDE) as server, server.client() as client:
        assert "first admin key" not in server.log.read_text()
        assert client.get("/v1/engines", headers=mine).status_code == 200


def test_on_loopback_any_key_or_none_is_the_machines_user(mock_server):
    with mock_server.client() as client:
        request = ask(client, {"authorization": "Key any:thing"}).json()
        assert client.get(request["status_url"]).status_code in (200, 202)


def test_a_server_for_others_says_that_it_has_no_checker(tmp_path):
    command = [
        sys.executable,
        "-m",
        "stillmotion",
        "serve",
        "--engine",
        "mock",
        "--data",
        str(tmp_path),
        "--host",
        "127.1",
    ]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "safety" in done.stderr


def test_generate_brings_the_key_along_also_for_a_file_that_is_hidden(tmp_path):
    request, video = tmp_path / "request.json", tmp_path / "out.mp4"
    request.write_text(json.dumps(small()))

    def generate(**environment):
        options = (ENDPOINT, "--input", str(request), "--output", str(video), "--url", server.http)
        command = [sys.executable, "-m", "stillmotion", "generate", *options]
        return subprocess.run(command, env=clean_environment(environment), capture_output=True, text=True, timeout=60)

    with serving(tmp_path / "data", **WIDE, file_access="hide") as server:
        refused = generate()
        assert (refused.returncode, json.loads(refused.stdout)["detail"]) == (1, "invalid key credentials")
        key = make_key(server.data, "erin")["authorization"].removeprefix("Key ")
        done = generate(FAL_KEY=key)
        assert done.returncode == 0, done.stdout + done.stderr
        assert video.stat().st_size == json.loads(done.stdout)["video"]["file_size"]
        with server.client() as nobody:
            (file,) = [each.name for each in (server.data / "files").rglob("*.mp4")]
            assert nobody.get(f"/files/{file}").status_code == 404
