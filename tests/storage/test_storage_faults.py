"""What goes wrong on the way: clients that leave, a server that dies, a disk that fills, and memory that must not."""

import os
import shutil
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from urllib.parse import urlsplit

import psutil
import pytest
from storage_wire import Parts, blob_of, on_disk, upload, wait_until

from serving import Server, serving
from stillmotion.files.blobs import LocalBlobs
from stillmotion.files.uploads import UploadParts
from stillmotion.store import uploads
from stillmotion.store.sqlite import SqliteStore

MIB = 1 << 20


def send_half(server, method, path):
    """A connection on which half of a body of 2 MiB was sent."""
    address = urlsplit(server.http)
    connection = socket.create_connection((address.hostname, address.port), timeout=10)
    head = f"{method} {path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {2 * MIB}\r\n\r\n"
    connection.sendall(head.encode() + bytes(MIB))
    return connection


def test_a_client_that_leaves_leaves_nothing(server):
    with server.client() as client:
        parts = Parts(client)
        parts.put(1, b"kept")
        begun = client.post("/rest/storage/upload/initiate", json={}).json()
        before = on_disk(server.data)
        requests = [
            ("POST", "/cdn/files/upload"),
            ("PUT", f"{parts.base.removeprefix(server.http)}/1"),
            ("PUT", begun["upload_url"].removeprefix(server.http)),
        ]
        connections = [send_half(server, *request) for request in requests]
        wait_until(lambda: len(on_disk(server.data) - before) == 3)
        for connection in connections:
            connection.close()
        wait_until(lambda: on_disk(server.data) == before)
        assert parts.complete().status_code == 200
        assert client.get(parts.url).content == b"kept"
        assert client.put(begun["upload_url"], content=b"again").status_code == 200


def test_a_server_that_is_killed_keeps_what_it_answered_for_and_nothing_else(tmp_path):
    server = Server(tmp_path / "data").start()
    try:
        with server.client() as client:
            kept = upload(client, b"kept")
            parts = Parts(client)
            first = parts.put(1, bytes(MIB)).headers["etag"]
            parts.put(2, b"to be replaced")
            answered = on_disk(server.data)
            again, more = (f"{parts.base.removeprefix(server.http)}/{number}" for number in (2, 3))
            sent = [("POST", "/cdn/files/upload"), ("PUT", again), ("PUT", more)]
            with ExitStack() as connections:
                for request in sent:
                    connections.enter_context(send_half(server, *request))
                wait_until(lambda: len(on_disk(server.data) - answered) == 3)
                server.kill()
        server.start()
        assert on_disk(server.data) == answered
        with server.client() as client:
            assert client.get(kept).content == b"kept"
            parts.client = client
            parts.put(2, b"end")
            assert parts.complete([parts.sent[2], {"partNumber": 1, "etag": first}]).status_code == 200
            assert client.get(parts.url).content == bytes(MIB) + b"end"
        server.kill()
        server.start()
        assert on_disk(server.data) == {blob_of(kept), blob_of(parts.url)}
        with server.client() as client:
            # The answer may have been lost with the server.
            parts.client = client
            assert parts.complete().json() == {"access_url": parts.url}
    finally:
        server.kill()


async def complete_but_for_the_row(data, parts):
    """What a server does to complete an upload, up to the moment before the file's row is written."""
    store = await SqliteStore.open(data / "stillmotion.db")
    try:
        id = parts.base.rpartition("/")[2]
        listed = {number: part["etag"].strip('"') for number, part in parts.sent.items()}
        upload, found = await store.write(uploads.seal(id, listed, now=0.0))
        whole = await UploadParts(data / "files" / "uploads").join(id, [(part.file, part.size) for part in found])
        await LocalBlobs(data / "files").adopt_as(whole, upload.file)
    finally:
        await store.close()


async def test_a_server_that_dies_before_the_row_is_written_completes_the_next_time(tmp_path):
    with serving(tmp_path) as server, server.client() as client:
        parts = Parts(client)
        for number in (1, 2, 3):
            parts.put(number, bytes([number]) * 1000)
        server.kill()
        await complete_but_for_the_row(tmp_path, parts)
        server.start()
        assert client.get(parts.url).status_code == 404
        assert parts.complete().status_code == 200
        assert client.get(parts.url).content == b"\1" * 1000 + b"\2" * 1000 + b"\3" * 1000
        assert on_disk(tmp_path) == {blob_of(parts.url)}


def test_a_file_that_would_not_fit_is_refused_before_it_is_sent(tmp_path):
    with serving(tmp_path, max_upload_bytes=10**18, max_upload_part_bytes=10**18) as server:
        address = urlsplit(server.http)
        with server.client() as client:
            parts = Parts(client)
        for method, path in (("POST", "/cdn/files/upload"), ("PUT", f"{parts.base.removeprefix(server.http)}/1")):
            with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
                head = f"{method} {path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {10**17}\r\n\r\n"
                connection.sendall(head.encode())
                assert connection.recv(1000).startswith(b"HTTP/1.1 503 ")


def test_a_disk_that_fills_meanwhile(tmp_path):
    """The server must leave 300 MB less than there is, and somebody else takes 1 GB while a file is sent."""
    free = shutil.disk_usage(tmp_path).free
    with serving(tmp_path / "data", min_free_bytes=free - 300_000_000) as server, server.client() as client:
        before = on_disk(server.data)
        ballast = os.open(tmp_path / "ballast", os.O_WRONLY | os.O_CREAT)

        def body():
            yield bytes(MIB)
            os.posix_fallocate(ballast, 0, 1_000_000_000)
            for _ in range(40):
                yield bytes(MIB)

        try:
            refused = client.post("/cdn/files/upload", content=body())
        finally:
            os.close(ballast)
        assert (refused.status_code, refused.headers["x-fal-error-type"]) == (503, "internal_error")
        assert client.post("/rest/storage/upload/initiate", json={}).status_code == 503
        assert on_disk(server.data) == before
        (tmp_path / "ballast").unlink()
        upload(client, b"there is space again")


@pytest.mark.parametrize("dialect", ["whole", "parts"])
def test_nothing_is_gathered_in_memory(server, dialect):
    process = psutil.Process(server.process.pid)
    block = bytes(MIB)
    with server.client() as client:
        upload(client, block * 16)
        before = process.memory_info().rss
        most, ended = [before], threading.Event()

        def watch():
            while not ended.wait(0.01):
                most.append(process.memory_info().rss)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            if dialect == "whole":
                url = upload(client, (block for _ in range(200)))
            else:
                parts = Parts(client)
                with ThreadPoolExecutor(10) as pool:
                    list(pool.map(lambda number: parts.put(number, (block for _ in range(10))), range(1, 21)))
                assert parts.complete().status_code == 200
                url = parts.url
        finally:
            ended.set()
            watcher.join()
        assert client.head(url).headers["content-length"] == str(200 * MIB)
        assert len(most) > 5
        assert max(most) - before < 32 * MIB
