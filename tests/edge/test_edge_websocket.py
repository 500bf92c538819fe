"""Websockets behind the edge: a reader that stops reading, and how they are closed."""

import contextlib
import socket

from edge_process import EdgeProcess
from websockets.client import ClientProtocol
from websockets.frames import Close, Frame
from websockets.uri import parse_uri


def opened(edge: EdgeProcess, *, receive_buffer: int | None = None) -> tuple[socket.socket, ClientProtocol]:
    """A websocket on a bare socket, which reads when its test does."""
    protocol = ClientProtocol(parse_uri(edge.urls[0].replace("http", "ws", 1)), max_size=None)
    sock = edge.connect()
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    protocol.send_request(protocol.connect())
    sock.sendall(b"".join(protocol.data_to_send()))
    while protocol.state.name != "OPEN":
        protocol.receive_data(sock.recv(65536))
        assert protocol.handshake_exc is None
    protocol.events_received()  # the answer to the handshake
    return sock, protocol


def test_a_client_that_does_not_read_is_cut_off(edge: EdgeProcess) -> None:
    sock, protocol = opened(edge, receive_buffer=4096)
    with sock:
        sock.settimeout(0.5)
        protocol.send_text(b"x" * (8 << 20))
        # All of it is echoed, and none of it is read.
        with contextlib.suppress(OSError):
            sock.sendall(b"".join(protocol.data_to_send()))
        edge.wait_until_gone(sock.getsockname())


def test_one_that_reads_slowly_is_not(edge: EdgeProcess) -> None:
    sock, protocol = opened(edge)
    with sock:
        for _ in range(3):
            protocol.send_text(b"x" * (2 << 20))
            sock.sendall(b"".join(protocol.data_to_send()))
            read = 0
            while read < 2 << 20:
                protocol.receive_data(sock.recv(65536))
                read += sum(len(frame.data) for frame in protocol.events_received() if isinstance(frame, Frame))


def test_a_close_is_answered_by_its_code_or_by_that_of_a_normal_end(edge: EdgeProcess) -> None:
    for code, answered in ((None, 1000), (1000, 1000), (1001, 1001), (4000, 4000)):
        sock, protocol = opened(edge)
        with sock:
            protocol.send_close(code, "")
            sock.sendall(b"".join(protocol.data_to_send()))
            while protocol.close_rcvd is None:
                protocol.receive_data(sock.recv(65536))
            assert protocol.close_rcvd == Close(answered, "")
