"""What a connection knows of its client, on both event loops and real sockets."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable

import pytest
import uvloop

from stillmotion.edge.peer import Peer

PATIENCE = 20.0  # seconds; a bound for hangs, not an expectation
MUCH = bytes(32 << 20)
"""More than the system takes for a client that does not read."""


class Connection(asyncio.Protocol):
    def __init__(self, react: Callable[["Connection"], None]) -> None:
        self.react = react
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self.peer = Peer(transport)

    def data_received(self, data: bytes) -> None:
        self.react(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.peer.lost(error)
        self.ended.set()


def close(sock: socket.socket) -> None:
    sock.close()


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def nothing(connection, client):
    pass


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def serve(request):
    """Runs one connection whose client sends a byte: what it does then, and what is awaited after that."""

    def run(react, then=None):
        async def main():
            found = loop.create_future()

            def on_data(connection):
                react(connection, client)
                found.set_result(connection)

            server = await loop.create_server(lambda: Connection(on_data), "127.0.0.1", 0)
            try:
                client = await loop.run_in_executor(None, socket.create_connection, server.sockets[0].getsockname())
                client.settimeout(PATIENCE)
                client.send(b"x")
                async with asyncio.timeout(PATIENCE):
                    connection = await found
                    try:
                        return await then(connection, client) if then else None
                    finally:
                        client.close()
                        if not connection.ended.is_set():
                            connection.transport.abort()
                        await connection.ended.wait()
            finally:
                server.close()

        with asyncio.Runner(loop_factory=request.param) as runner:
            loop = runner.get_loop()
            return runner.run(main())

    return run


@pytest.mark.parametrize("leave", [close, reset])
def test_the_system_knows_before_the_loop_does(serve, leave):
    seen = []

    def react(connection, client):
        seen.append((connection.peer.gone, connection.peer.has_left()))
        leave(client)  # nothing else runs on the loop before this returns
        seen.append((connection.peer.gone, connection.peer.has_left()))

    serve(react)
    assert seen == [(False, False), (False, True)]


def test_a_connection_that_is_not_read_is_looked_at(serve):
    seen = []

    def react(connection, client):
        connection.transport.pause_reading()
        seen.append(connection.peer.gone)
        close(client)
        seen.append(connection.peer.gone)

    serve(react)
    assert seen == [False, True]


async def answer(connection, content, *, ends):
    """As the edge does: the question comes right after the last byte, without a turn of the loop between."""
    connection.transport.write(content)
    if ends:
        connection.transport.close()
    return await connection.peer.written()


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("leave", [close, reset])
def test_what_the_system_has_taken_is_written(serve, ends, leave):
    """Whatever the client does when it has it."""

    async def then(connection, client):
        written = await answer(connection, b"answer", ends=ends)
        assert client.recv(6) == b"answer"
        leave(client)
        return written

    assert serve(nothing, then) is True


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("leave", [close, reset])
def test_an_answer_of_which_a_part_waits_is_lost_with_its_client(serve, ends, leave):
    async def then(connection, client):
        asyncio.get_running_loop().call_later(0.1, leave, client)
        return await answer(connection, MUCH, ends=ends)

    assert serve(nothing, then) is False


@pytest.mark.parametrize("ends", [False, True])
def test_an_answer_of_which_a_part_waits_is_written_when_it_is_read(serve, ends):
    def read(client):
        left = len(MUCH)
        while left:
            left -= len(client.recv(1 << 20))

    async def then(connection, client):
        reader = threading.Thread(target=read, args=(client,))
        reader.start()
        written = await answer(connection, MUCH, ends=ends)
        await asyncio.to_thread(reader.join, PATIENCE)
        assert not reader.is_alive()
        return written

    assert serve(nothing, then) is True


def test_an_answer_that_is_cut_is_lost(serve):
    async def then(connection, client):
        asyncio.get_running_loop().call_later(0.1, connection.peer.cut)
        return await answer(connection, MUCH, ends=True)

    assert serve(nothing, then) is False


def test_nothing_is_written_to_a_client_that_is_known_to_be_gone(serve):
    async def then(connection, client):
        close(client)
        await connection.ended.wait()
        return await connection.peer.written()

    assert serve(nothing, then) is False
