"""The hub's answers become files, or one sentence that says what to do."""

import os

import pytest

from fake_hub import FakeHub, sha256
from stillmotion.bundles.catalogue import GEMMA
from stillmotion.errors import FileDownloadError, Unavailable
from stillmotion.hub import Hub


def told(error):
    return str(error.value)


def test_a_listing_has_sizes_and_checksums(fake, hub):
    fake.add("o/r", {"a/b.safetensors": b"12345", "c.json": b"{}"}, plain=frozenset({"c.json"}))
    listed = hub.repository("o/r")
    weights, text = listed.files["a/b.safetensors"], listed.files["c.json"]
    assert (weights.size, weights.sha256) == (5, sha256(b"12345"))
    assert (text.size, text.sha256, len(text.git_id)) == (2, None, 40)
    assert hub.repository("o/r", listed.commit).commit == listed.commit
    assert hub.read(text) == b"{}"


def test_a_download_goes_on_where_it_was_cut(fake, hub, tmp_path):
    content = os.urandom(13_000_000)
    fake.add("o/r", {"w": content})
    fake.cut["w"] = 11_000_000  # the library keeps what it has in steps of 10 MiB
    counted = []
    hub.download(hub.repository("o/r").files["w"], tmp_path / "part", counted.append)
    assert (tmp_path / "part").read_bytes() == content
    assert [seen.range for seen in fake.fetched()] == [None, "bytes=10485760-"]
    assert sum(counted) == len(content)


def test_a_part_that_is_too_long_is_begun_anew(fake, hub, tmp_path):
    fake.add("o/r", {"w": b"12345"})
    (tmp_path / "part").write_bytes(b"something longer")
    hub.download(hub.repository("o/r").files["w"], tmp_path / "part", lambda count: None)
    assert (tmp_path / "part").read_bytes() == b"12345"


def test_the_token_stays_with_the_hub(fake, hub):
    fake.add("o/r", {"w": b"12345"})
    file = hub.repository("o/r").files["w"]
    hub.check_access(file)
    hub.read(file)
    assert {seen.token for seen in fake.seen} == {"Bearer hf_allowed"}
    assert [seen.token for seen in fake.fetched()] == [None]


def test_a_gated_repository_says_where_to_accept(fake):
    other = Hub(url=fake.url, token="hf_other")
    file = other.repository(GEMMA).files["config.json"]
    with pytest.raises(FileDownloadError, match="account of your token has no access") as error:
        other.check_access(file)
    assert f"{fake.url}/{GEMMA}" in told(error)
    assert "hf_other" not in told(error)


def test_what_is_not_there(fake, hub):
    with pytest.raises(FileDownloadError, match=r"no/such does not exist .* HF_TOKEN"):
        hub.repository("no/such")
    fake.add("o/r", {"w": b"1"})
    with pytest.raises(FileDownloadError, match="o/r has no revision 'v2'"):
        hub.repository("o/r", "v2")
    file = hub.repository("o/r").files["w"]
    del fake.repos["o/r"].revisions["main"]["w"]
    with pytest.raises(FileDownloadError, match="has no"):
        hub.read(file)


@pytest.mark.parametrize("name", ["plain", "a/b/c", "../etc", "a/..", "a/b?x=1", "https://x/y", ""])
def test_what_is_no_repository_is_not_asked_for(fake, hub, name):
    with pytest.raises(FileDownloadError, match="owner/name"):
        hub.repository(name)
    assert fake.seen == []


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (503, Unavailable, "answered 503: try again later"),
        (429, Unavailable, "answered 429"),
        (403, FileDownloadError, "the token in HF_TOKEN may not read"),
        (418, FileDownloadError, "answered 418"),
    ],
)
def test_answers_without_a_listing(fake, hub, status, kind, text):
    fake.status = status
    with pytest.raises(kind, match=text):
        hub.repository("o/r")


def test_a_hub_that_cannot_be_reached():
    with pytest.raises(Unavailable, match="check the network"):
        Hub(url="http://127.0.0.1:9").repository("o/r")


def test_something_else_under_the_hubs_address(fake):
    with pytest.raises(FileDownloadError):
        Hub(url=f"{fake.url}/elsewhere").repository("o/r")


def test_paths_that_leave_their_folder_are_refused(fake: FakeHub, hub):
    for path in ("../x", "/etc/passwd", "a//b", "a\\b", "a/./b"):
        fake.add("o/r", {path: b"1"})
        with pytest.raises(FileDownloadError, match="did not answer"):
            hub.repository("o/r")
