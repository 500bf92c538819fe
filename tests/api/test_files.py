"""Finished files over HTTP: ranges for players, validators for caches, and headers that keep browsers safe."""

import pytest

from serving import ENDPOINT, small


@pytest.fixture(scope="module")
def video(mock_server):
    with mock_server.client() as client:
        url = client.post(f"/run/{ENDPOINT}", json=small()).json()["video"]["url"]
        yield client, url, client.get(url).content


def test_a_video_is_what_it_says_and_nothing_else(video):
    client, url, content = video
    answer = client.get(url)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "immutable" in answer.headers["cache-control"]
    assert int(answer.headers["content-length"]) == len(content)
    head = client.head(url)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == answer.headers["content-length"]


@pytest.mark.parametrize(
    ("range", "start", "stop"), [("bytes=0-99", 0, 100), ("bytes=100-", 100, None), ("bytes=-50", -50, None)]
)
def test_ranges(video, range, start, stop):
    client, url, content = video
    answer = client.get(url, headers={"range": range})
    assert answer.status_code == 206
    assert answer.content == content[start:stop]


def test_a_range_beyond_the_file_is_refused(video):
    client, url, content = video
    answer = client.get(url, headers={"range": f"bytes={len(content)}-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(content)}"


def test_the_validator_saves_a_second_transfer(video):
    client, url, _ = video
    etag = client.get(url).headers["etag"]
    answer = client.get(url, headers={"if-none-match": etag})
    assert (answer.status_code, answer.content) == (304, b"")


@pytest.mark.parametrize("name", ["nothing.mp4", "..%2fstillmotion.db", "%2e%2e", "a" * 40 + ".mp4", "%00", "ca.pem"])
def test_names_that_were_not_made_here_are_not_found(video, name):
    client, _, _ = video
    answer = client.get(f"/files/{name}")
    assert answer.status_code == 404
    assert "detail" in answer.json()
