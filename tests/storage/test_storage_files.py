"""Files that come whole: what their URLs look like, how they are read back, and what is refused."""

import json
import re
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from storage_wire import SMALL_FILE, blob_of, on_disk, upload, wait_until

from serving import picture, small
from stillmotion.service.upload_names import UPLOADS_PATH, clean_file_name, split_upload_path, upload_path
from stillmotion.service.upload_tokens import UploadTokens

FORM = re.compile(r"/cdn/files/b/[0-9a-f]{8}/[0-9a-f]{32}_([^/]+)")
TOKEN_URL = "/rest/storage/auth/token?storage_type=fal-cdn-v3"


@pytest.fixture(scope="module")
def client(server):
    with server.client() as client:
        yield client


@pytest.mark.parametrize(
    ("name", "type", "shown"),
    [
        ("hello.txt", "text/plain", "hello.txt"),
        ("my photo (1).png", "image/png", "my_photo__1_.png"),
        ("1732110000000.svg+xml", "image/svg+xml", "1732110000000.svg+xml"),
        ("../../etc/passwd", "text/plain", "passwd"),
        (r"C:\Users\me\été.jpg", "image/jpeg", "été.jpg"),
        ("..", "image/png", "upload.png"),
        ("a" * 300 + ".tar.gz", "application/gzip", "a" * 97 + ".gz"),
        (None, "image/webp", "upload.webp"),
        (None, "application/octet-stream", "upload.bin"),
        (None, "not a type", "upload.bin"),
    ],
)
def test_a_url_is_unguessable_and_ends_in_the_name(client, server, name, type, shown):
    headers = [(b"content-type", type.encode()), *([(b"x-fal-file-name", name.encode())] if name else [])]
    url = client.post("/cdn/files/upload", content=b"x", headers=headers).json()["access_url"]
    assert url.startswith(server.http)
    assert unquote(FORM.fullmatch(url.removeprefix(server.http))[1]) == shown
    assert client.get(url).content == b"x"


@given(st.text(), st.sampled_from(["image/png", "text/plain", "nonsense"]))
def test_every_name_becomes_one_plain_segment(name, type):
    cleaned = clean_file_name(name, type)
    assert 0 < len(cleaned) <= 100
    assert not cleaned.startswith(".")
    assert not re.search(r"[/\\\s\x00-\x1f\u202a-\u202e\u2066-\u2069\"'<>&?#%]", cleaned)
    assert clean_file_name(cleaned, type) == cleaned
    blob = f"{'0123456789' * 4}.upload"
    path = upload_path(blob, cleaned)
    assert path.isascii()
    assert split_upload_path(unquote(path.removeprefix(UPLOADS_PATH))) == (blob, cleaned)


def test_two_uploads_of_one_file_are_two_files(client):
    assert upload(client, b"x") != upload(client, b"x")


@pytest.mark.parametrize("content", [b"", b"hello", bytes(range(256)) * 5000])
def test_bytes_come_back(client, content):
    url = upload(client, content)
    answer = client.get(url)
    assert (answer.content, answer.headers["content-length"]) == (content, str(len(content)))
    head = client.head(url)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(content)))


def test_a_body_without_a_length(client):
    assert client.get(upload(client, iter([b"ab", b"", b"cd"]))).content == b"abcd"


@pytest.mark.parametrize(
    ("sent", "served", "shown"),
    [
        ("text/plain", "text/plain", "inline"),
        ("Image/PNG", "image/png", "inline"),
        ("video/mp4; codecs=avc1", "video/mp4; codecs=avc1", "inline"),
        ("text/html", "text/html", "attachment"),
        ("TEXT/HTML; charset=utf-8", "text/html; charset=utf-8", "attachment"),
        ("image/svg+xml", "image/svg+xml", "attachment"),
        ("application/xhtml+xml", "application/xhtml+xml", "attachment"),
        ("text/javascript", "text/javascript", "attachment"),
        ("application/pdf", "application/pdf", "attachment"),
        ("", "application/octet-stream", "attachment"),
        ("nonsense", "application/octet-stream", "attachment"),
        ("text/html, text/plain", "application/octet-stream", "attachment"),
        ("a/" + "b" * 300, "application/octet-stream", "attachment"),
    ],
)
def test_no_type_makes_a_document_with_scripts(client, sent, served, shown):
    answer = client.get(upload(client, b"<script>alert(1)</script>", sent))
    assert answer.headers["content-type"] == served
    assert answer.headers["content-disposition"].startswith(shown + ";")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


@pytest.fixture(scope="module")
def numbers(client):
    content = bytes(range(256)) * 40
    return upload(client, content, "application/octet-stream"), content


@given(st.integers(0, 11_000), st.integers(0, 11_000))
def test_ranges(client, numbers, first, last):
    url, content = numbers
    answer = client.get(url, headers={"range": f"bytes={first}-{last}"})
    if first >= len(content):
        assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(content)}")
    elif first > last:
        assert answer.status_code == 400
    else:
        expected = content[first : last + 1]
        assert (answer.status_code, answer.content) == (206, expected)
        assert answer.headers["content-range"] == f"bytes {first}-{first + len(expected) - 1}/{len(content)}"


def test_validators(client, numbers):
    url, content = numbers
    etag = client.get(url).headers["etag"]
    for named in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = client.get(url, headers={"if-none-match": named})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert client.get(url, headers={"if-none-match": '"other"'}).content == content
    part = {"range": "bytes=0-1"}
    assert client.get(url, headers={**part, "if-range": etag}).status_code == 206
    assert client.get(url, headers={**part, "if-range": '"other"'}).content == content


def test_only_the_very_url_is_the_file(client, numbers):
    url, _ = numbers
    base, _, name = url.rpartition("/")
    digits = name.partition("_")[0]
    for other in (f"{base}/{digits}_other.bin", f"{base}/{digits}", f"{base}/{name}x", f"{base}/{'0' * 32}_upload.bin"):
        assert client.get(other).status_code == 404
    assert client.get(url.replace("/cdn/files/", "/files/")).status_code == 200


def test_a_token_is_what_the_python_client_needs(client, server):
    token = client.post(TOKEN_URL, json={}).json()
    assert (token["token_type"], token["base_url"]) == ("Bearer", f"{server.http}/cdn")
    left = datetime.fromisoformat(token["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=5) < left <= timedelta(hours=1)
    assert upload(client, b"x", authorization=f"Bearer {token['token']}")


def test_a_token_that_is_not_valid_is_refused_where_none_is_not(client, server):
    secret = (server.data / "upload-tokens.key").read_bytes()
    assert (server.data / "upload-tokens.key").stat().st_mode & 0o077 == 0
    valid = UploadTokens(secret).issue("local", now=time.time()).text
    expired = UploadTokens(secret).issue("local", now=time.time() - 7200).text
    forged = UploadTokens(bytes(32)).issue("local", now=time.time()).text
    payload, _, signature = valid.partition(".")
    other = UploadTokens(secret).issue("other", now=time.time()).text.partition(".")[0]
    before = on_disk(server.data)
    for token in (expired, forged, f"{other}.{signature}", f"{payload}.", payload, "é", "a.b", f"{valid}A"):
        for request in ("/cdn/files/upload", "/cdn/files/upload/multipart"):
            headers = [(b"authorization", f"Bearer {token}".encode("latin-1"))]
            answer = client.post(request, content=b"x", headers=headers)
            refusal = (401, "The upload token is invalid or has expired")
            assert (answer.status_code, answer.json()["detail"]) == refusal
    assert on_disk(server.data) == before
    for accepted in (f"Bearer {valid}", f"bearer {valid}", "Key a:b", "Key"):
        assert upload(client, b"x", authorization=accepted)


def expiry(client, url):
    return int(re.search(r"max-age=(\d+)", client.get(url).headers["cache-control"])[1])


WEEK, YEAR = 7 * 86400, 365 * 86400
NAMES = ("x-fal-object-lifecycle", "x-fal-object-lifecycle-preference")


@pytest.mark.parametrize("header", NAMES)
@pytest.mark.parametrize(
    ("preference", "kept"),
    [
        ('{"expiration_duration_seconds": 3600}', 3600),
        ('{"expiration_duration_seconds": 90.5, "initial_acl": {"default": "allow"}}', 90),
        ('{"expiration_duration_seconds": null}', YEAR),
        ('{"expiration_duration_seconds": 0}', YEAR),
        ('{"expiration_duration_seconds": 1' + "0" * 40 + "}", YEAR),
        ('{"initial_acl": {"default": "allow"}}', WEEK),
        ('{"expiration_duration_seconds": -5}', WEEK),
        ('{"expiration_duration_seconds": true}', WEEK),
        ('{"expiration_duration_seconds": "60"}', WEEK),
        ("[]", WEEK),
        ("{", WEEK),
        ("", WEEK),
    ],
)
def test_the_sender_says_how_long_a_file_is_kept(client, header, preference, kept):
    url = upload(client, b"x", **{header: preference})
    assert kept - 60 < expiry(client, url) <= kept


def test_the_lifecycle_of_a_url_to_send_to(client):
    headers = {NAMES[0]: "nonsense", NAMES[1]: json.dumps({"expiration_duration_seconds": 600})}
    begun = client.post("/rest/storage/upload/initiate", json={}, headers=headers).json()
    assert client.put(begun["upload_url"], content=b"x").status_code == 200
    assert 540 < expiry(client, begun["file_url"]) <= 600


def test_a_file_is_gone_when_its_time_is_over(client, server):
    url = upload(client, b"x", **{NAMES[0]: '{"expiration_duration_seconds": 1}'})
    kept = upload(client, b"y")
    assert client.get(url).content == b"x"
    wait_until(lambda: client.get(url).status_code == 404)
    wait_until(lambda: blob_of(url) not in on_disk(server.data))
    assert client.get(kept).content == b"y"
    assert blob_of(kept) in on_disk(server.data)


@pytest.mark.parametrize("site", ["own", "fals"])
def test_an_upload_is_an_input(client, site):
    url = upload(client, picture(), "image/png", **{"x-fal-file-name": "first frame.png"})
    if site == "fals":
        url = "https://v3.fal.media" + url[url.index("/files/b/") :]
    answer = client.post("/run/fal-ai/ltx-2-19b/image-to-video", json=small(image_url=url))
    assert (answer.status_code, answer.json()["video"]["width"]) == (200, 64)


def test_an_upload_that_is_gone_is_told_as_an_input(client):
    url = upload(client, picture(), "image/png")
    base, _, name = url.rpartition("/")
    answer = client.post("/run/fal-ai/ltx-2-19b/image-to-video", json=small(image_url=f"{base}/{'0' * 32}{name[32:]}"))
    assert answer.json()["detail"][0]["type"] == "file_download_error"


def test_files_beyond_the_bound_are_refused_and_leave_nothing(narrow):
    with narrow.client() as client:
        before = on_disk(narrow.data)
        for content in (b"x" * (SMALL_FILE + 1), iter([b"x" * SMALL_FILE, b"x"])):
            assert client.post("/cdn/files/upload", content=content).status_code == 413
        wait_until(lambda: on_disk(narrow.data) == before)
        assert len(client.get(upload(client, b"x" * SMALL_FILE)).content) == SMALL_FILE


@pytest.mark.parametrize(
    ("body", "status"), [({"file_name": 3}, 400), ({"content_type": []}, 400), ([], 422), ("x" * 2_000_000, 413)]
)
def test_what_is_no_request_for_a_url_is_refused(client, body, status):
    answer = client.post("/rest/storage/upload/initiate?storage_type=gcs", json=body)
    assert (answer.status_code, "detail" in answer.json()) == (status, True)
