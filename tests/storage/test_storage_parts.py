"""Uploads in parts, in both dialects: any order, sent again, several at once; and what is refused."""

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_wire import SMALL_FILE, SMALL_PART, Parts, blob_of, on_disk, upload, wait_until

from serving import serving
from stillmotion.service.upload_tokens import UploadTokens

contents = st.lists(st.binary(max_size=3000), min_size=1, max_size=7)


@pytest.fixture(scope="module")
def client(server):
    with server.client() as client:
        yield client


@st.composite
def deliveries(draw):
    """What is sent in which order, (number, content), some of it again or in another version; and what it makes."""
    final = draw(contents)
    numbers = range(1, len(final) + 1)
    early = [(number, draw(st.binary(max_size=500))) for number in draw(st.lists(st.sampled_from(numbers), max_size=4))]
    last = [(number, final[number - 1]) for number in draw(st.permutations(numbers))]
    again = [(number, final[number - 1]) for number in draw(st.lists(st.sampled_from(numbers), max_size=3))]
    return early + last + again, b"".join(final), draw(st.permutations(numbers))


@settings(max_examples=60)
@given(deliveries(), st.booleans())
def test_any_order_makes_the_file(server, client, delivery, js):
    sent, whole, order = delivery
    parts = Parts(client, name="clip.mp4", js=js)
    for number, content in sent:
        etag = parts.put(number, content).headers["etag"]
        assert etag == f'"{hashlib.md5(content).hexdigest()}"'
    answer = parts.complete([parts.sent[number] for number in order])
    assert (answer.status_code, answer.json()) == (200, {"access_url": parts.url})
    found = client.get(parts.url)
    assert (found.content, found.headers["content-type"]) == (whole, "video/mp4")
    assert parts.url.endswith("_clip.mp4")
    assert not [path for path in on_disk(server.data) if path.startswith("uploads/")]


def test_many_at_once(client):
    parts = Parts(client)
    pieces = {number: bytes([number]) * 200_000 for number in range(1, 31)}
    with ThreadPoolExecutor(10) as pool:
        # Each twice, so that the same number arrives at the same time too.
        answers = list(pool.map(lambda number: parts.put(number, pieces[number]), [*pieces, *pieces]))
    assert {answer.status_code for answer in answers} == {200}
    assert parts.complete().status_code == 200
    assert client.get(parts.url).content == b"".join(pieces.values())


def test_completing_at_once_and_again(client):
    parts = Parts(client)
    for number in (2, 1):
        parts.put(number, bytes([number]) * 3_000_000)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: parts.complete(), range(4)))
    assert {(answer.status_code, answer.json()["access_url"]) for answer in answers} == {(200, parts.url)}
    assert parts.complete().status_code == 200
    assert parts.put(3, b"late").status_code == 400
    assert client.get(parts.url).content == b"\1" * 3_000_000 + b"\2" * 3_000_000


def test_etags_come_back_as_proxies_and_clients_write_them(client):
    parts = Parts(client)
    for number, form in enumerate(('"{}"', "{}", 'W/"{}"', ' "{}" '), 1):
        digest = parts.put(number, b"x" * number).headers["etag"].strip('"')
        parts.sent[number]["etag"] = form.format(digest.upper())
    assert parts.complete().status_code == 200


@pytest.fixture
def three(client):
    parts = Parts(client)
    for number in (1, 2, 3):
        parts.put(number, bytes([number]))
    return parts


def changed(parts, **change):
    return [*(dict(part) for number, part in parts.sent.items() if number < 3), {**parts.sent[3], **change}]


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        (lambda parts: [parts.sent[1], parts.sent[2]], "parts 3 are not in the list"),
        (lambda parts: [], "parts 1, 2, 3 are not in the list"),
        (lambda parts: [*parts.sent.values(), {"partNumber": 5, "etag": "x"}], "parts 4, 5 were not uploaded"),
        (lambda parts: changed(parts, etag='"0"'), "parts 3 have another ETag than their upload answered"),
        (lambda parts: [*parts.sent.values(), parts.sent[1]], "Part 1 is listed twice"),
        (lambda parts: [{}, {}, {}], "Every part needs its partNumber"),
        (lambda parts: changed(parts, etag=None), "Every part needs"),
        (lambda parts: changed(parts, partNumber="3"), "Every part needs"),
        (lambda parts: changed(parts, partNumber=True), "Every part needs"),
        (lambda parts: ["x"], "Every part needs"),
        (lambda parts: {"1": "x"}, "The body must be"),
    ],
)
def test_a_list_that_is_not_what_was_sent_is_refused_and_may_be_corrected(three, listed, told):
    answer = three.complete(listed(three))
    assert answer.status_code == 400
    assert told in answer.json()["detail"]
    assert three.complete().status_code == 200


def test_a_gap_is_refused(client):
    parts = Parts(client)
    parts.put(1, b"a")
    parts.put(3, b"c")
    answer = parts.complete()
    assert (answer.status_code, "parts 2 were not uploaded" in answer.json()["detail"]) == (400, True)
    parts.put(2, b"b")
    assert parts.complete().status_code == 200
    assert client.get(parts.url).content == b"abc"


def test_nothing_is_no_file(client):
    assert "it has no parts" in Parts(client).complete().json()["detail"]


@pytest.mark.parametrize("js", [False, True])
@pytest.mark.parametrize("number", ["0", "10001", "-1", "x", "1.5", "9" * 30])
def test_numbers_that_are_none(client, js, number):
    assert Parts(client, js=js).put(number, b"x").status_code in (400, 404)


def test_an_upload_is_known_by_its_own_url_only(client):
    first, second = Parts(client), Parts(client)
    id = first.base.rpartition("/")[2]
    for base in (
        f"{second.url}/multipart/{id}",
        f"{first.url}x/multipart/{id}",
        f"{first.url}/multipart/{'0' * 40}",
        f"{first.url}/multipart/x",
    ):
        assert client.put(f"{base}/1", content=b"x").status_code == 404
        assert client.post(f"{base}/complete", json={"parts": []}).status_code == 404
    assert client.get(first.url).status_code == 404


def test_a_token_that_is_not_valid_is_refused_for_parts_too(client):
    parts = Parts(client)
    parts.put(1, b"x")
    wrong = {"authorization": "Bearer wrong"}
    assert client.put(f"{parts.base}/1", content=b"y", headers=wrong).status_code == 401
    assert client.post(f"{parts.base}/complete", json={"parts": []}, headers=wrong).status_code == 401
    assert parts.complete().status_code == 200
    assert client.get(parts.url).content == b"x"


def test_an_upload_is_its_tenants_own(client, server):
    tokens = UploadTokens((server.data / "upload-tokens.key").read_bytes())
    own, other = (
        {"authorization": f"Bearer {tokens.issue(each, now=time.time()).text}"} for each in ("other", "local")
    )
    parts = Parts(client, **own)
    assert client.put(f"{parts.base}/1", content=b"x", headers=other).status_code == 404
    etag = client.put(f"{parts.base}/1", content=b"x", headers=own).headers["etag"]
    listed = {"parts": [{"partNumber": 1, "etag": etag}]}
    assert client.post(f"{parts.base}/complete", json=listed, headers=other).status_code == 404
    assert client.post(f"{parts.base}/complete", json=listed, headers=own).status_code == 200


def initiate(client, **body):
    return client.post("/rest/storage/upload/initiate?storage_type=gcs", json=body).json()


def test_a_url_to_send_to_takes_one_file(client):
    begun = initiate(client, file_name="hello.txt", content_type="text/plain")
    assert client.get(begun["file_url"]).status_code == 404
    # The key that the Python client sends along, the type that it sends again: neither matters here.
    sent = {"authorization": "Key a:b", "content-type": "text/html"}
    answer = client.put(begun["upload_url"], content=b"hello", headers=sent)
    assert (answer.status_code, answer.json()) == (200, {"access_url": begun["file_url"]})
    # A client that missed the answer sends the same again.
    assert client.put(begun["upload_url"], content=b"hello").status_code == 200
    refused = client.put(begun["upload_url"], content=b"other")
    assert (refused.status_code, "has been used" in refused.json()["detail"]) == (400, True)
    found = client.get(begun["file_url"])
    assert (found.content, found.headers["content-type"]) == (b"hello", "text/plain")
    assert begun["file_url"].endswith("_hello.txt")


def test_one_of_several_at_once_is_stored(client, server):
    begun = initiate(client)
    with ThreadPoolExecutor(6) as pool:
        sent = [bytes([number]) * 300_000 for number in range(6)]
        answers = list(pool.map(lambda content: client.put(begun["upload_url"], content=content), sent))
    stored = [content for content, answer in zip(sent, answers, strict=True) if answer.status_code == 200]
    assert [client.get(begun["file_url"]).content] == stored
    assert {answer.status_code for answer in answers} == {200, 400}
    assert blob_of(begun["file_url"]) in on_disk(server.data)


def test_the_two_kinds_are_not_mixed_up(client):
    whole, parts = initiate(client)["upload_url"], Parts(client, js=True)
    assert client.put(f"{whole}/1", content=b"x").status_code == 400
    assert client.post(f"{whole}/complete", json={"parts": []}).status_code == 400
    assert client.put(parts.base, content=b"x").status_code == 400
    parts.put(1, b"x")
    # Whatever is behind the question mark is the client's to keep, ours to ignore.
    answer = client.post(f"{parts.base}/complete?signature=x", json={"parts": list(parts.sent.values())})
    assert answer.status_code == 200


def test_bounds(narrow):
    with narrow.client() as client:
        parts = Parts(client)
        assert parts.put(1, b"x" * SMALL_PART).status_code == 200
        assert parts.put(2, b"x" * SMALL_PART).status_code == 200
        assert parts.put(3, b"x" * (SMALL_PART + 1)).status_code == 413
        assert parts.put(3, iter([b"x" * SMALL_PART, b"x"])).status_code == 413
        assert parts.put(3, b"x" * (SMALL_FILE - 2 * SMALL_PART + 1)).status_code == 413
        # One that takes the place of another counts once.
        assert parts.put(2, b"y" * SMALL_PART).status_code == 200
        assert parts.put(3, b"z" * (SMALL_FILE - 2 * SMALL_PART)).status_code == 200
        assert parts.complete().status_code == 200
        assert len(client.get(parts.url).content) == SMALL_FILE


def test_an_upload_that_is_not_completed_in_time_is_gone(tmp_path):
    with serving(tmp_path, unfinished_upload_seconds=2) as server, server.client() as client:
        completed, parts, whole = Parts(client), Parts(client), initiate(client)
        completed.put(1, b"kept")
        assert completed.complete().status_code == 200
        parts.put(1, b"x")
        uploads = tmp_path / "files" / "uploads"
        assert len(list(uploads.iterdir())) == 1
        wait_until(lambda: not list(uploads.iterdir()))
        for late in (parts.put(2, b"x"), parts.complete(), client.put(whole["upload_url"], content=b"x")):
            assert (late.status_code, "expired" in late.json()["detail"]) == (404, True)
        assert client.get(completed.url).content == b"kept"


def test_no_more_uploads_than_may_be_unfinished(tmp_path):
    with serving(tmp_path, max_unfinished_uploads=2) as server, server.client() as client:
        first = Parts(client)
        initiate(client)
        refused = client.post("/cdn/files/upload/multipart")
        assert (refused.status_code, refused.headers["x-fal-retryable"]) == (503, "true")
        assert client.post("/rest/storage/upload/initiate", json={}).status_code == 503
        upload(client, b"whole files are not counted")
        first.put(1, b"x")
        assert first.complete().status_code == 200
        assert client.post("/cdn/files/upload/multipart").status_code == 200


def test_a_completed_upload_says_so_in_json(client):
    parts = Parts(client, js=True)
    parts.put(1, b"x")
    answer = parts.complete()
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.text) == {"access_url": parts.url}
