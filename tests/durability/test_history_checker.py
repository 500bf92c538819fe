"""The proof is only as good as its checker: every fault that it claims to find is planted here, on a real database."""

import asyncio
import json
import shutil
import sqlite3
from contextlib import closing

import pytest
from crash_snapshot import read_snapshot
from history import History, violations

from stillmotion.store import transitions
from stillmotion.store.records import NewRequest, StoredFile, Succeeded
from stillmotion.store.sqlite import SqliteStore

BLOB = "a" * 40 + ".mp4"
CONTENT = b"video"


async def make_world(data):
    """A server's directory with one made request ``r0`` and one waiting ``r1``."""
    folder = data / "files/blobs/aa"
    folder.mkdir(parents=True)
    (folder / BLOB).write_bytes(CONTENT)
    store = await SqliteStore.open(data / "stillmotion.db")
    for number in range(2):
        body = json.dumps({"prompt": f"token {number}"})
        new = NewRequest(
            id=f"r{number}", tenant="t", app="a/b", endpoint="a/b/c", origin="queue", input=body, max_attempts=3
        )
        await store.write(transitions.submit(new, now=0.0))
    await make(store, BLOB)
    await store.close()


async def make(store, name):
    claim = await store.write(transitions.claim("lease", now=1.0, expires=2.0))
    file = StoredFile(name=name, content_type="video/mp4", size=len(CONTENT))
    done = Succeeded(output="{}", files=(file,), model="m", inference_seconds=1.0)
    assert await store.write(transitions.settle(claim.fence, done, now=2.0))


async def make_the_other(data):
    """``r1`` is made as well."""
    name = "b" * 40 + ".mp4"
    (data / "files/blobs/bb").mkdir()
    (data / "files/blobs/bb" / name).write_bytes(CONTENT)
    store = await SqliteStore.open(data / "stillmotion.db")
    await make(store, name)
    await store.close()
    return name


def see(history, id, name):
    history.saw_status(id, 200, b'{"status": "COMPLETED"}')
    result = {"video": {"url": f"http://host/files/{name}", "file_size": len(CONTENT)}}
    history.saw_result(id, 200, json.dumps(result).encode())
    history.saw_file(id, 200, CONTENT)


def sent(history, number, fate, id=None):
    body = json.dumps({"prompt": f"token {number}"}).encode()
    submit = history.begin(f"token {number}", body, life=0)
    submit.fate, submit.id = fate, id


async def make_course(data):
    await make_world(data)
    killed = read_snapshot(data)
    return killed, await make_the_other(data)


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    data = tmp_path_factory.mktemp("course")
    return data, *asyncio.run(make_course(data))


@pytest.fixture
def world(course, tmp_path):
    """A faultless course, to be spoilt: data directory, history, snapshot after a kill."""
    template, killed, other = course
    data = shutil.copytree(template, tmp_path / "data")
    history = History()
    sent(history, 0, "accepted", "r0")
    sent(history, 1, "lost")
    sent(history, 2, "lost")
    sent(history, 3, "refused")
    history.saw_status("r0", 202, b'{"status": "IN_PROGRESS"}')
    for id, name in (("r0", BLOB), ("r1", other), ("r0", BLOB)):
        see(history, id, name)
    return data, history, killed


def test_a_faultless_course_has_no_violation(world):
    data, history, killed = world
    assert violations(history, [killed], read_snapshot(data)) == []


DATABASE_FAULTS = {
    "an accepted request is gone": (
        "DELETE FROM files WHERE request_id = 'r0'; DELETE FROM payloads WHERE request_id = 'r0';"
        "DELETE FROM requests WHERE id = 'r0'",
        "token 0: accepted as r0, stored as []",
    ),
    "an unanswered submit is half there": ("DELETE FROM payloads WHERE request_id = 'r1'", "r1: a row without its"),
    "an input was changed": (
        """UPDATE payloads SET input = '{"prompt": "token 0", "seed": 1}' WHERE request_id = 'r0'""",
        "r0: stored with another input",
    ),
    "a request that nobody sent": (
        """UPDATE payloads SET input = '{"prompt": "stray"}' WHERE request_id = 'r1'""",
        "that nobody sent",
    ),
    "a refused submit is there": (
        """UPDATE payloads SET input = '{"prompt": "token 3"}' WHERE request_id = 'r1'""",
        "token 3: refused, yet stored",
    ),
    "one submit made two requests": (
        """UPDATE payloads SET input = '{"prompt": "token 1"}' WHERE request_id = 'r0'""",
        "token 1: one submit, 2 requests",
    ),
    "a request never ended": (
        "UPDATE requests SET state = 'running', lease = 'l', ended_at = NULL WHERE id = 'r1'",
        "r1: ended as running",
    ),
    "an end was written twice": (
        "UPDATE requests SET ended_at = 99 WHERE id = 'r0'",
        "r0: changed after its end",
    ),
    "a result was replaced": (
        """UPDATE payloads SET output = '{"other": 1}' WHERE request_id = 'r0'""",
        "r0: changed after its end",
    ),
    "more attempts than allowed": ("UPDATE requests SET attempt = 4 WHERE id = 'r1'", "r1: attempt 4 of 3"),
    "an attempt was forgotten": ("UPDATE requests SET attempt = -1 WHERE id = 'r1'", "r1: attempt 0 became -1"),
    "a second file of one request": (
        "UPDATE files SET request_id = 'r0' WHERE request_id = 'r1'",
        "r0: 2 files",
    ),
    "a result without a file row": ("DELETE FROM files WHERE request_id = 'r1'", "r1: 0 files"),
    "a row of another size": ("UPDATE files SET size = 6 WHERE request_id = 'r0'", "6 bytes by its row, 5 on disk"),
    "a done request without an output": (
        "UPDATE payloads SET output = NULL WHERE request_id = 'r1'",
        "r1: done without an output",
    ),
    "a file of a request that is not there": (
        "UPDATE files SET request_id = 'r9' WHERE request_id = 'r1'",
        "broken reference",
    ),
}


@pytest.mark.parametrize("name", DATABASE_FAULTS)
def test_faults_of_the_database_are_found(world, name):
    data, history, killed = world
    script, told = DATABASE_FAULTS[name]
    with closing(sqlite3.connect(data / "stillmotion.db")) as connection:
        connection.executescript(script)
    found = violations(history, [killed], read_snapshot(data))
    assert any(told in fault for fault in found), found


def a_file_is_missing(data):
    (data / "files/blobs/aa" / BLOB).unlink()


def a_file_is_cut_short(data):
    (data / "files/blobs/aa" / BLOB).write_bytes(CONTENT[:-1])


def a_blob_has_no_row(data):
    (data / "files/blobs/aa" / ("c" * 40 + ".mp4")).write_bytes(CONTENT)


def a_scratch_folder_stays(data):
    (data / "files/work/r0-1").mkdir(parents=True)


DISK_FAULTS = {
    a_file_is_missing: "5 bytes by its row, None on disk",
    a_file_is_cut_short: "5 bytes by its row, 4 on disk",
    a_blob_has_no_row: "a blob without a row",
    a_scratch_folder_stays: "a scratch folder",
}


@pytest.mark.parametrize("fault", DISK_FAULTS, ids=lambda fault: fault.__name__)
def test_faults_of_the_disk_are_found(world, fault):
    data, history, killed = world
    fault(data)
    found = violations(history, [killed], read_snapshot(data))
    assert any(DISK_FAULTS[fault] in each for each in found), found


ANSWER_FAULTS = {
    "an end was taken back": (
        lambda history: history.saw_status("r0", 202, b'{"status": "IN_QUEUE"}'),
        "r0: status changed after the end",
    ),
    "an end became another": (
        lambda history: history.saw_status("r0", 200, b'{"status": "COMPLETED", "error": "x"}'),
        "r0: status changed after the end",
    ),
    "a request became unknown": (lambda history: history.saw_result("r0", 404, b"{}"), "r0: result answered 404"),
    "a result became another": (lambda history: see(history, "r0", "other.mp4"), "r0: result changed"),
    "a file became another": (lambda history: history.saw_file("r0", 200, b"other"), "r0: file changed"),
    "a file is not served": (lambda history: history.saw_file("r0", 404, b""), "r0: file answered 404"),
    "two submits got one id": (lambda history: sent(history, 4, "accepted", "r0"), "r0: 2 submits got this id"),
    "an accepted submit was never stored": (
        lambda history: sent(history, 4, "accepted", "r9"),
        "token 4: accepted as r9, stored as []",
    ),
}


@pytest.mark.parametrize("name", ANSWER_FAULTS)
def test_faults_of_the_answers_are_found(world, name):
    data, history, killed = world
    plant, told = ANSWER_FAULTS[name]
    plant(history)
    found = violations(history, [killed], read_snapshot(data))
    assert any(told in fault for fault in found), found


def test_a_result_that_nobody_could_read_is_found(world):
    data, history, killed = world
    history.sightings[:] = [seen for seen in history.sightings if (seen.id, seen.kind) != ("r1", "file")]
    assert violations(history, [killed], read_snapshot(data)) == ["r1: ['file'] could not be read"]


def test_a_result_that_names_another_file_is_found(world):
    data, history, killed = world
    history.sightings[:] = [seen for seen in history.sightings if seen.id != "r1"]
    see(history, "r1", BLOB)
    (found,) = violations(history, [killed], read_snapshot(data))
    assert found.startswith("r1: told")
