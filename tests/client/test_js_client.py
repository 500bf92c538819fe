"""Every public method of fal's own JavaScript client, in each of the four ways in which it reaches a server."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from js_client import FOLDER, need_js_client
from js_surface import public_members
from walks import faults, large_file, under_exec, walk, walked_server

from serving import Server

PACKAGE = FOLDER / "node_modules" / "@fal-ai" / "client"
WALK = FOLDER / "walk.mjs"
WAYS = ("fetch", "middleware", "proxy", "exec")
ONLY = {"realtime": ("exec",), "stream_with_token": ("fetch", "exec")}
"""Rows of which the client itself rules out the other ways: it sends them to fal's hosts past middleware and proxy."""
REALTIME = {"RealtimeClient.connect", "RealtimeConnection.send", "RealtimeConnection.close"}
PART_MIB = 91
"""The client sends in parts above 90."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    need_js_client()
    # For each way a prompt of its own, whose first attempt times out.
    once = [{"action": 504, "times": 1, "match": {"prompt": f"^once {way}$"}} for way in WAYS]
    with walked_server(tmp_path_factory.mktemp("js-walk"), *once) as server:
        yield server


@pytest.fixture(scope="module")
def large(server: Server) -> Iterator[dict[str, Any]]:
    path = server.data.with_name("large.zip")
    yield large_file(path, PART_MIB)
    path.unlink()


@pytest.fixture(scope="module", params=WAYS)
def report(request: pytest.FixtureRequest, server: Server, large: dict[str, Any]) -> dict[str, Any]:
    way = request.param
    # Node has had the WebSocket that the realtime client takes without the option since version 22.
    command = [*(under_exec(server) if way == "exec" else []), "node", "--experimental-websocket", str(WALK)]
    found = walk(command, {"way": way, "origin": server.http, "large": large, "without": sorted(left_out(way))})
    return {**found, "way": way}


def left_out(way: str) -> set[str]:
    return {row for row, ways in ONLY.items() if way not in ways}


def test_every_row_passes(report):
    assert not faults(report)
    assert left_out(report["way"]).isdisjoint(report["rows"])


def test_every_public_member_of_the_client_is_used(report):
    members = public_members(PACKAGE)
    assert {"FalClient.run", "QueueClient.submit", "FalStream.done", "createFalClient"} <= members
    assert members - set(report["used"]) == (REALTIME if "realtime" in left_out(report["way"]) else set())


def test_no_other_host_is_asked(report, server):
    if report["way"] == "exec":
        hosts = {"fal.run", "queue.fal.run", "rest.fal.ai", "v3.fal.media", "api.fal.ai"}
        # One row goes through a proxy of the program's own.
        assert set(report["asked"]) == {f"https://{host}" for host in hosts} | {server.http}
    else:
        assert report["asked"] == [server.http]


def test_a_new_member_would_be_missed(tmp_path: Path):
    """The walk fails with a client that can do more."""
    need_js_client()
    copy = tmp_path / "client"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("*.js", "*.map"))

    def declare(file: str, after: str, more: str) -> None:
        path = copy / "src" / file
        before = path.read_text()
        assert before.count(after) == 1
        path.write_text(before.replace(after, after + more))

    declare(
        "queue.d.ts", "export interface QueueClient {", "requeue<Id>(id: Id, options: { at: Date; }): Promise<void>;"
    )
    declare("storage.d.ts", "export interface StorageClient {", "remove: (url: string) => Promise<Removal>;")
    declare(
        "storage.d.ts",
        "export type UploadOptions",
        "X = string;\nexport interface Removal { undo(): void }\nexport type Y",
    )
    declare(
        "streaming.d.ts",
        "export declare class FalStream<Input, Output> {",
        "private hidden(): void; get size(): number;",
    )
    declare(
        "types/common.d.ts",
        "export declare function isQueueStatus(obj: any): obj is QueueStatus;",
        "\nexport declare function isNew(): boolean;",
    )
    new = public_members(copy) - public_members(PACKAGE)
    assert new == {"QueueClient.requeue", "StorageClient.remove", "Removal.undo", "FalStream.size", "isNew"}
