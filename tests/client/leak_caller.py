"""A program for fal's Python client that goes on when its calls fail: once at its start, and once more for each line
that it is given, it makes them all and prints how many succeeded of how many.

With ``no proxy`` it forgets every proxy that it was told to use.
"""

import asyncio
import contextlib
import http.client
import json
import os
import sys
import time
import urllib.request

ENDPOINT, ARGUMENTS, KIND = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
if "no proxy" in sys.argv:
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        os.environ.pop(name, None)
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"

import fal_client  # noqa: E402

# All ten tries of the client, with its backup domains between, in no time.
_sleep = asyncio.sleep
time.sleep = lambda seconds: None
asyncio.sleep = lambda seconds, *given: _sleep(min(seconds, 0.01), *given)

client = fal_client.SyncClient() if KIND == "sync" else fal_client.AsyncClient()
handles = []


def by_standard_library():
    """Heeds the variables, as many libraries do."""
    with urllib.request.urlopen("https://queue.fal.run/fal-ai/ltx-2/requests/none/status", timeout=10) as answer:
        return answer.read()


def by_connection():
    """Heeds none."""
    connection = http.client.HTTPSConnection("v3.fal.media", timeout=10)
    connection.request("GET", "/files/b/none/none")
    assert connection.getresponse().status == 404


def calls():
    """The client is the same one all the time: its connections are kept."""
    yield client.submit, (ENDPOINT, ARGUMENTS)
    yield client.run, (ENDPOINT, ARGUMENTS)
    yield client.upload, (b"hello", "text/plain")
    if handles:
        yield handles[0].status, ()
        yield handles[0].cancel, ()

    yield client.stream, (ENDPOINT, ARGUMENTS)
    yield by_standard_library, ()
    yield by_connection, ()


async def made(call, given):
    """Whether there was an answer, of whoever serves the name."""
    try:
        found = call(*given)
        if hasattr(found, "__await__"):
            found = await found
        if hasattr(found, "__aiter__"):
            found = [event async for event in found]
        elif hasattr(found, "__next__"):
            found = list(found)
        if hasattr(found, "iter_events"):
            handles.append(found)
    except urllib.error.HTTPError:
        return True
    except fal_client.FalClientHTTPError as error:
        return error.status_code == 400  # of a request that ended before it was to be cancelled
    except Exception:
        return False
    return True


async def act():
    answers = [await made(call, given) for call, given in calls()]
    print(json.dumps([sum(answers), len(answers)]), flush=True)


async def main():
    with contextlib.suppress(EOFError):
        while True:
            await act()
            await asyncio.to_thread(input)


asyncio.run(main())
