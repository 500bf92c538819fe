"""LoRA files by URL, from the hub and from the local folder: brought once, checked, kept, and given up in time."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from lora_bench import LIMIT, Bench, lora
from raw_http_server import RawServer, reply, run_server

from fake_hub import FakeHub, run_hub, sha256
from stillmotion.errors import FileDownloadError, FileTooLargeError, InputError, LoraLoadError


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with run_hub() as fake:
        yield fake


@pytest.fixture
async def web() -> AsyncIterator[RawServer]:
    async with run_server() as server:
        yield server


@pytest.fixture
async def bench(tmp_path: Path, hub: FakeHub, web: RawServer) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path, hub, web)
    yield bench
    await bench.close()


# The hub


async def test_a_repository_with_one_file(bench):
    bench.hub.add("o/r", {"README.md": b"x", "weights.safetensors": lora()})
    path = await bench.bring("o/r")
    assert path.read_bytes() == lora()
    assert path.name == f"{sha256(lora())}.safetensors"
    stamp = path.stat().st_mtime_ns
    assert await bench.bring("o/r") == path
    assert path.stat().st_mtime_ns == stamp, "an engine knows the file again by it"
    assert len(bench.hub.fetched()) == 1, "found by its published checksum"


async def test_a_file_and_a_revision(bench):
    repo = bench.hub.add("o/r", {"a/x.safetensors": lora(1), "y.safetensors": lora(2)})
    repo.revisions["old"] = {"a/x.safetensors": lora(3)}
    assert await bench.content("o/r/a/x.safetensors") == lora(1)
    assert await bench.content("o/r@old") == lora(3)
    assert await bench.content("o/r@old/a/x.safetensors") == lora(3)
    commit = repo.commit("old")
    assert await bench.content(f"o/r@{commit}") == lora(3)
    bench.hub.seen.clear()
    assert await bench.content(f"o/r@{commit}") == lora(3)
    assert bench.hub.seen == [], "a commit never changes"


async def test_a_branch_that_moved_on(bench):
    repo = bench.hub.add("o/r", {"x.safetensors": lora(1)})
    assert await bench.content("o/r") == lora(1)
    repo.revisions["main"]["x.safetensors"] = lora(2)
    assert await bench.content("o/r") == lora(2)


async def test_several_files_are_told_unless_one_has_the_usual_name(bench):
    repo = bench.hub.add("o/r", {f"step-{n}.safetensors": lora(n) for n in range(12)})
    error = await bench.failure("o/r")
    assert isinstance(error, LoraLoadError)
    assert error.message.startswith("o/r holds 12 safetensors files: name one as o/r/FILE, of step-0.safetensors, ")
    assert error.message.endswith(", ...")
    repo.revisions["main"]["pytorch_lora_weights.safetensors"] = lora(99)
    assert await bench.content("o/r") == lora(99)


async def test_what_the_hub_does_not_have(bench):
    bench.hub.add("o/r", {"README.md": b"x"})
    assert (await bench.failure("o/r")).message == "o/r holds no safetensors file"
    assert (await bench.failure("o/r/x.safetensors")).message == "o/r has no file x.safetensors"
    assert "has no revision 'v2'" in (await bench.failure("o/r@v2")).message
    assert "no/such does not exist" in (await bench.failure("no/such")).message


async def test_a_gated_repository(bench):
    bench.hub.add("o/r", {"x.safetensors": lora()}, gated=True, allowed="hf_other")
    assert "o/r is gated" in (await bench.failure("o/r")).message


async def test_too_large_is_told_before_a_byte_is_fetched(bench):
    bench.hub.add("o/r", {"x.safetensors": lora()}, claimed={"x.safetensors": LIMIT + 1})
    error = await bench.failure("o/r")
    assert isinstance(error, FileTooLargeError)
    assert error.ctx == {"max_size": LIMIT}
    assert bench.hub.fetched() == []


async def test_without_the_hub_the_copy_that_is_here_serves(bench, caplog):
    bench.hub.add("o/r", {"x.safetensors": lora()})
    await bench.bring("o/r")
    bench.hub.status = 503
    assert await bench.content("o/r") == lora()
    assert "answered 503" in caplog.text
    assert "the copy of o/r that is here is used" in caplog.text
    assert "answered 503" in (await bench.failure("o/other")).message


async def test_a_file_that_arrived_damaged_is_not_kept(bench):
    bench.hub.add("o/r", {"x.safetensors": lora(1)})
    bench.hub.corrupt.add("x.safetensors")
    await bench.failure("o/r")
    assert bench.kept() == set()


async def test_a_file_that_is_not_kept_as_lfs(bench):
    repo = bench.hub.add("o/r", {"x.safetensors": lora(1)}, plain=frozenset({"x.safetensors"}))
    assert await bench.content("o/r") == lora(1)
    assert await bench.content("o/r") == lora(1)
    assert len(bench.hub.fetched()) == 1
    repo.revisions["main"]["x.safetensors"] = lora(2)
    assert await bench.content("o/r") == lora(2)


# URLs


async def test_a_url_is_asked_again_and_downloaded_once(bench):
    bench.web.answers["/x"] = [
        reply(200, lora(), etag='"v1"', last_modified="Mon, 01 Jan 2024 00:00:00 GMT"),
        reply(304, etag='"v1"'),
        reply(200, lora(2), etag='"v2"'),
    ]
    url = f"{bench.web.url}/x"
    assert await bench.content(url) == lora()
    assert await bench.content(url) == lora()
    assert b'If-None-Match: "v1"' in bench.web.requests[1]
    assert b"If-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT" in bench.web.requests[1]
    assert await bench.content(url) == lora(2)


async def test_a_host_that_says_nothing_of_versions_is_believed_nothing(bench):
    bench.web.answers["/x"] = [reply(200, lora(1)), reply(200, lora(2)), reply(304)]
    url = f"{bench.web.url}/x"
    assert await bench.content(url) == lora(1)
    assert await bench.content(url) == lora(2)
    assert "answered 304" in (await bench.failure(url)).message


async def test_what_was_removed_is_downloaded_again(bench):
    bench.web.answers["/x"] = reply(200, lora(), etag='"v1"')
    url = f"{bench.web.url}/x"
    (await bench.bring(url)).unlink()
    assert await bench.content(url) == lora()
    assert b"If-None-Match" not in bench.web.requests[1]


async def test_a_url_that_is_too_large(bench):
    bench.web.answers["/x"] = reply(200, lora(count=LIMIT))
    assert isinstance(await bench.failure(f"{bench.web.url}/x"), FileTooLargeError)


async def test_private_addresses_are_refused_directly_and_by_redirect(tmp_path, hub, web):
    async with run_server() as inside:
        inside.answers["/x"] = reply(200, lora())
        bench = Bench(tmp_path, hub, web)
        web.answers["/x"] = reply(302, location=f"{inside.url}/x")
        for url in (f"{inside.url}/x", f"{web.url}/x"):
            assert "could not download" in (await bench.failure(url)).message
        assert inside.connections == 0


async def test_a_bad_file_is_told_and_not_kept(bench):
    bench.web.answers["/x"] = reply(200, b"<!doctype html><title>Sign in</title>" + b" " * 100)
    error = await bench.failure(f"{bench.web.url}/x")
    assert isinstance(error, LoraLoadError)
    assert "a web page: the link is not one to the file itself" in error.message
    assert error.type == "file_download_error"
    assert bench.kept() == set()


# The local folder


async def test_a_local_file(bench):
    (bench.local / "styles").mkdir()
    (bench.local / "styles" / "x.safetensors").write_bytes(lora())
    assert await bench.bring("local:styles/x.safetensors") == bench.local / "styles" / "x.safetensors"


async def test_a_local_path_cannot_leave_its_folder(bench, tmp_path):
    secret = tmp_path / "secret.safetensors"
    secret.write_bytes(lora())
    (bench.local / "link.safetensors").symlink_to(secret)
    (bench.local / "folder").symlink_to(tmp_path)
    (bench.local / "loop.safetensors").symlink_to("loop.safetensors")
    for name in ("link", "folder/secret", "loop", "absent"):
        told = (await bench.failure(f"local:{name}.safetensors")).message
        assert told == f"there is no {name}.safetensors in this server's folder of LoRA files"


async def test_local_files_are_checked_too(bench):
    (bench.local / "x.safetensors").write_bytes(b"PK\x03\x04" + bytes(100))
    assert "can run code" in (await bench.failure("local:x.safetensors")).message
    (bench.local / "y.safetensors").write_bytes(lora(count=LIMIT))
    assert isinstance(await bench.failure("local:y.safetensors"), FileTooLargeError)


async def test_no_local_folder(bench):
    bench.local = None
    bench.open()
    assert "no folder of LoRA files" in (await bench.failure("local:x.safetensors")).message


# Many at once


async def test_requests_at_the_same_time_share_one_download(bench):
    bench.hub.add("o/r", {"x.safetensors": lora()})
    bench.web.answers["/x"] = [[reply(200, lora(1))[:100], 0.2, reply(200, lora(1))[100:]]]
    paths = await asyncio.gather(*(bench.bring(source) for source in ["o/r", f"{bench.web.url}/x"] * 5))
    assert len(set(paths)) == 2
    assert len(bench.hub.fetched()) == 1
    assert len(bench.web.requests) == 1


async def test_the_errors_of_a_shared_download_are_each_requests_own(bench):
    bench.web.answers["/x"] = [[0.1, reply(404)]]
    results = await asyncio.gather(*(bench.bring(f"{bench.web.url}/x") for _ in range(2)), return_exceptions=True)
    first, second = results
    assert isinstance(first, InputError)
    assert isinstance(second, InputError)
    first.at("loras", 0, "path")
    assert second.loc == ("body",)
    assert first.message == second.message


async def test_a_waiter_that_is_cancelled_leaves_the_download_to_the_others(bench):
    body = reply(200, lora())
    bench.web.answers["/x"] = [[body[:200], 0.3, body[200:]]]
    url = f"{bench.web.url}/x"
    leaver, stayer = (asyncio.create_task(bench.bring(url)) for _ in range(2))
    await settled(lambda: bench.web.requests)
    leaver.cancel()
    assert (await stayer).read_bytes() == lora()
    assert leaver.cancelled()
    assert len(bench.web.requests) == 1


@pytest.mark.parametrize("kind", ["url", "hub"])
async def test_a_download_that_nobody_waits_for_ends_and_can_begin_anew(bench, kind):
    bench.web.answers["/x"] = [[reply(200, lora())[:200], 30.0], reply(200, lora())]
    bench.hub.add("o/r", {"x.safetensors": lora()})
    bench.hub.stall["x.safetensors"] = 100
    source = "o/r" if kind == "hub" else f"{bench.web.url}/x"
    task = asyncio.create_task(bench.bring(source))
    await settled(bench.hub.stalled.is_set if kind == "hub" else bench.incoming)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    bench.hub.stall.clear()
    assert await bench.content(source) == lora()


async def test_a_hub_download_that_takes_too_long(tmp_path, hub, web):
    bench = Bench(tmp_path, hub, web, timeout=0.3)
    hub.add("o/r", {"x.safetensors": lora()})
    hub.stall["x.safetensors"] = 100
    with pytest.raises(FileDownloadError, match=r"x.safetensors from o/r took more than 0.3 s"):
        await bench.bring("o/r")
    await bench.close()


async def settled(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - another thread or process has no event to wait for
            await asyncio.sleep(0.01)


# What is kept


async def test_the_least_recently_used_make_room(tmp_path, hub, web):
    bench = Bench(tmp_path, hub, web, cache_bytes=3 * len(lora()) + 10)
    hub.add("o/r", {f"{n}.safetensors": lora(n) for n in range(4)})

    async def use(n: int) -> None:
        path = await bench.bring(f"o/r/{n}.safetensors")
        assert path.read_bytes() == lora(n)
        for folder in (tmp_path / "work").iterdir():  # the request is over
            for link in folder.iterdir():
                link.unlink()

    for n in (0, 1, 2, 0, 3):
        await use(n)
    assert bench.kept() == {sha256(lora(n)) for n in (2, 0, 3)}
    assert len(hub.fetched()) == 4


async def test_what_a_request_works_with_is_not_removed(tmp_path, hub, web):
    bench = Bench(tmp_path, hub, web, cache_bytes=10)
    hub.add("o/r", {f"{n}.safetensors": lora(n) for n in range(3)})
    paths = [await bench.bring(f"o/r/{n}.safetensors") for n in range(3)]
    assert [path.read_bytes() for path in paths] == [lora(n) for n in range(3)]
    for folder in (tmp_path / "work" / "1", tmp_path / "work" / "2"):
        next(folder.iterdir()).unlink()
    hub.repos["o/r"].revisions["main"]["3.safetensors"] = lora(3)
    await bench.bring("o/r/3.safetensors")
    assert bench.kept() == {sha256(lora(2)), sha256(lora(3))}


async def test_two_sources_of_one_content_are_kept_once(bench):
    bench.hub.add("o/r", {"x.safetensors": lora()})
    bench.web.answers["/x"] = reply(200, lora())
    assert await bench.bring("o/r") == await bench.bring(f"{bench.web.url}/x")
    assert bench.kept() == {sha256(lora())}


async def test_after_a_crash_the_rest_of_downloads_is_gone_and_contents_are_found(bench):
    bench.hub.add("o/r", {"x.safetensors": lora()})
    await bench.bring("o/r")
    (bench.root / "store" / "incoming" / "half").write_bytes(b"x" * 1000)
    bench.open()
    assert bench.incoming() == []
    assert await bench.content("o/r") == lora()
    assert len(bench.hub.fetched()) == 1


async def test_the_store_holds_no_text_of_a_source(bench):
    bench.web.answers["/x?signature=secret"] = reply(200, lora(), etag='"v1"')
    await bench.bring(f"{bench.web.url}/x?signature=secret")
    for path in (bench.root / "store").rglob("*"):
        assert "secret" not in path.name
        assert path.is_dir() or b"secret" not in path.read_bytes()
