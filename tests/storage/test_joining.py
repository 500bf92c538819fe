"""Parts joined on disk: from every state that a crash may leave, and without the space twice."""

import asyncio
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillmotion.errors import NotFound
from stillmotion.files.uploads import UploadParts


def store(root, contents):
    """The parts of an upload on disk, as (file, size)."""

    async def one(content):
        yield content

    async def all():
        parts = UploadParts(root)
        return parts, [await parts.write("id", one(content), 1 << 30) for content in contents]

    parts, written = asyncio.run(all())
    return parts, [(part.file, part.size) for part in written]


@settings(max_examples=40)
@given(st.lists(st.binary(max_size=5000), min_size=1, max_size=6), st.data())
def test_it_goes_on_from_wherever_it_was_cut_off(contents, data):
    with tempfile.TemporaryDirectory() as folder:
        parts, listed = store(Path(folder), contents)
        begun = data.draw(st.integers(0, len(contents)), "parts that were joined")
        if begun:
            partial = (
                contents[begun][: data.draw(st.integers(0, 5000), "bytes of the next")]
                if begun < len(contents)
                else b""
            )
            for file, _ in listed[:begun]:
                (Path(folder) / "id" / file).unlink()
            (Path(folder) / "id" / "whole").write_bytes(b"".join(contents[:begun]) + partial)
        for _ in range(2):
            assert asyncio.run(parts.join("id", listed)).read_bytes() == b"".join(contents)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_lost_part_is_told(tmp_path, lost):
    parts, listed = store(tmp_path, [b"a" * 100, b"b" * 100, b"c" * 100])
    (tmp_path / "id" / listed[lost][0]).unlink()
    with pytest.raises(NotFound, match="lost"):
        asyncio.run(parts.join("id", listed))


def test_joining_takes_the_space_of_one_more_part_at_most(tmp_path):
    size, count = 2 << 20, 12
    parts, listed = store(tmp_path, [bytes([number]) * size for number in range(count)])
    most, ended = [0], threading.Event()

    def watch():
        while not ended.is_set():
            found = 0
            for path in (tmp_path / "id").iterdir():
                try:
                    found += path.stat().st_blocks * 512
                except FileNotFoundError:
                    continue
            most.append(found)

    watcher = threading.Thread(target=watch)
    watcher.start()
    asyncio.run(parts.join("id", listed))
    ended.set()
    watcher.join()
    # A part that was renamed while it was counted may be counted twice.
    assert count * size <= max(most) <= (count + 2) * size


def test_a_part_that_fails_leaves_nothing(tmp_path):
    async def broken():
        yield b"x" * 3_000_000
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        asyncio.run(UploadParts(tmp_path).write("id", broken(), 1 << 30))
    assert list((tmp_path / "id").iterdir()) == []


def test_only_what_is_needed_is_kept(tmp_path):
    parts, listed = store(tmp_path, [b"a", b"b"])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    removed = asyncio.run(parts.keep_only({"id": {listed[0][0]}}))
    assert sorted(removed) == sorted(["other", f"id/{listed[1][0]}"])
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["id", f"id/{listed[0][0]}"]
