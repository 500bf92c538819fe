"""A realtime connection as a test speaks it: websockets' own client, and what may be said on it."""

import json
from contextlib import contextmanager

import msgpack
from websockets.sync.client import connect

from serving import ENDPOINT

PATIENCE = 30


@contextmanager
def realtime(server, endpoint=ENDPOINT, query="", headers=None, **options):
    url = f"{server.http.replace('http', 'ws', 1)}/run/{endpoint}/realtime{query}"
    with connect(
        url, proxy=None, open_timeout=PATIENCE, max_size=None, additional_headers=headers, **options
    ) as connection:
        yield connection


def say(connection, message, *, binary=False):
    connection.send(msgpack.packb(message) if binary else json.dumps(message))


def hear(connection):
    frame = connection.recv(PATIENCE)
    return msgpack.unpackb(frame) if isinstance(frame, bytes) else json.loads(frame)
