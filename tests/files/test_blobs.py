"""Blobs: names that cannot lead out, files that are whole or absent."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillmotion.errors import FileTooLargeError, NotFound
from stillmotion.files.blobs import LocalBlobs

NAME = "0123456789abcdef0123456789abcdef01234567.png"

HOSTILE = [
    *(
        "",
        ".",
        "..",
        "/",
        "//",
        "~",
        "~/x",
        "-",
        "-rf",
        "CON",
        "NUL",
        "con.png",
        "a.png",
        ".png",
        "png",
        "*",
        "?",
        "\x00",
    ),
    *("../" + NAME, "..\\" + NAME, "../../etc/passwd", "....//" + NAME, "..;/" + NAME, "/etc/passwd", "C:\\x.png"),
    *("%2e%2e%2f" + NAME, "%2e%2e/" + NAME, "..%2f" + NAME, "..%5c" + NAME, "%00" + NAME, "..%c0%af" + NAME),
    *("./" + NAME, "/" + NAME, "\\" + NAME, NAME + "/", NAME + "/..", NAME + "/.", NAME + "\\", "01/" + NAME),
    *(NAME + "\n", NAME + "\x00", NAME + " ", " " + NAME, "\n" + NAME, NAME + "\r", NAME + "\t", NAME + "\u2028"),
    *(
        NAME + ".png",
        NAME + ".",
        NAME + "~",
        NAME + ".tar.gz",
        NAME + "\x00.jpg",
        NAME + "?x",
        NAME + "#x",
        NAME + ":x",
    ),
    *(NAME.upper(), NAME.replace(".png", ".PNG"), NAME.replace(".png", ""), NAME.replace(".png", "."), NAME[1:]),
    *("0" + NAME, NAME.replace("0", "g"), NAME.replace("0", "０"), NAME.replace("0", "٠"), NAME.replace("a", "а")),
    *(NAME.replace(".png", ".pñg"), NAME.replace(".png", ".ninechars"), NAME.replace(".png", "。png")),
    *("é" * 300, "a" * 5000, "a" * 40, "\u202e" + NAME, NAME + "\u202e", "\ufeff" + NAME, "\ud800" + NAME, "\ud800"),
    *("incoming", "work", "blobs", "incoming/" + NAME, "work/x", "../work/x", "../incoming/" + NAME, "..", "...", "…"),
    *(
        "file:///etc/passwd",
        "http://127.0.0.1/",
        "data:,x",
        "$(id)",
        "`id`",
        "${HOME}",
        "%s",
        "{0}",
        "'",
        '"',
        ";ls",
        "|ls",
    ),
    *("&", "<script>", "a\\..\\b", "a/../b", "con/../" + NAME, "aux", "lpt1.png", NAME[:20] + "/" + NAME[20:]),
    *(NAME[:2] + "/" + NAME, "../blobs/01/" + NAME, "/proc/self/environ", "/dev/zero", "\\\\?\\C:\\x", NAME + "\x1f"),
]


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    return LocalBlobs(tmp_path / "files")


async def listed(blobs: LocalBlobs, older_than: float = 0.0) -> list[str]:
    return [name async for name in blobs.names(older_than=older_than)]


def everything(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if not path.is_dir())


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_written_bytes_come_back(blobs: LocalBlobs, tmp_path: Path) -> None:
    large = os.urandom(3_000_000)
    for source, expected in ((b"", b""), (b"abc", b"abc"), (chunks(b"a", b"", b"bc"), b"abc"), (chunks(large), large)):
        name = await blobs.write(source, "mp4")
        assert blobs.path(name).read_bytes() == expected
        assert blobs.path(name).is_relative_to(tmp_path / "files")
        assert name.endswith(".mp4")
    assert len(await listed(blobs)) == 4
    assert len(everything(tmp_path)) == 4


async def test_adopted_file_moves(blobs: LocalBlobs, tmp_path: Path) -> None:
    made = blobs.work("request-1") / "video.mp4"
    made.write_bytes(b"video")
    inode = made.stat().st_ino
    name = await blobs.adopt(made, "mp4")
    assert blobs.path(name).read_bytes() == b"video"
    assert blobs.path(name).stat().st_ino == inode
    assert everything(tmp_path) == [blobs.path(name)]


async def test_adopting_what_is_no_plain_file(blobs: LocalBlobs) -> None:
    work = blobs.work("a")
    (work / "link").symlink_to("/etc/passwd")
    os.mkfifo(work / "pipe")
    (work / "folder").mkdir()
    for name in ("link", "pipe", "folder", "missing"):
        with pytest.raises(OSError, match=r"link|pipe|folder|missing"):
            await blobs.adopt(work / name, "mp4")
    assert await listed(blobs) == []


async def test_names_are_many_and_of_one_form(blobs: LocalBlobs) -> None:
    names = await asyncio.gather(*(blobs.write(b"x", "png") for _ in range(500)))
    assert len(set(names)) == 500
    assert sorted(names) == sorted(await listed(blobs))
    # 160 random bits: each of 16 digits is expected 1,250 times among 20,000, with a deviation of 34; six of them.
    digits = "".join(name.removesuffix(".png") for name in names)
    assert all(1250 - 205 < digits.count(digit) < 1250 + 205 for digit in "0123456789abcdef")


@pytest.mark.parametrize("extension", ["", ".png", "PNG", "../x", "a/b", "tar.gz", "ninechars", "é", "a\x00", "png\n"])
async def test_unfit_extension(blobs: LocalBlobs, tmp_path: Path, extension: str) -> None:
    with pytest.raises(ValueError, match="extension"):
        await blobs.write(b"x", extension)
    assert everything(tmp_path) == []


async def test_hostile_names(blobs: LocalBlobs) -> None:
    assert len(set(HOSTILE)) >= 100
    for name in HOSTILE:
        with pytest.raises(NotFound):
            blobs.path(name)
        with pytest.raises(NotFound):
            await blobs.delete(name)


@given(st.text(max_size=60) | st.from_regex(r"[0-9a-f./\\]{38,42}\.?[a-z0-9.]{0,9}", fullmatch=True))
def test_any_name_stays_inside(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    root = tmp_path_factory.getbasetemp() / "any"
    with pytest.raises(NotFound):
        LocalBlobs(root).path(name)


async def test_links_and_folders_are_not_followed(blobs: LocalBlobs, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    shard = tmp_path / "files" / "blobs" / NAME[:2]
    (shard / NAME).symlink_to(tmp_path / "secret")
    folder = NAME.replace("png", "mp4")
    (shard / folder).mkdir()
    moved = "ff" + NAME[2:]
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / moved).write_bytes(b"secret")
    shard.with_name("ff").rmdir()
    shard.with_name("ff").symlink_to(tmp_path / "outside")
    for name in (NAME, folder, moved):
        with pytest.raises(NotFound):
            blobs.path(name)
    assert NAME not in await listed(blobs)


async def test_root_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    blobs = LocalBlobs(tmp_path / "link")
    name = await blobs.write(b"x", "png")
    assert blobs.path(name).read_bytes() == b"x"


async def test_delete(blobs: LocalBlobs) -> None:
    name = await blobs.write(b"x", "png")
    await blobs.delete(name)
    await blobs.delete(name)
    with pytest.raises(NotFound):
        blobs.path(name)
    assert await listed(blobs) == []


async def test_sweep_sees_only_what_lies_long_enough(blobs: LocalBlobs) -> None:
    """Age counts from the move: an old file that was adopted just now has no row yet."""
    made = blobs.work("a") / "video.mp4"
    made.write_bytes(b"video")
    os.utime(made, (0, 0))
    name = await blobs.adopt(made, "mp4")
    assert await listed(blobs, older_than=60) == []
    assert await listed(blobs, older_than=-1) == [name]


async def test_failed_writes_leave_nothing(blobs: LocalBlobs, tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000
        raise ConnectionResetError

    async def stalled() -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000
        await asyncio.sleep(30)

    with pytest.raises(ConnectionResetError):
        await blobs.write(broken(), "mp4")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(blobs.write(stalled(), "mp4"), 0.1)
    for source in (b"x" * 11, chunks(b"x" * 10, b"x")):
        with pytest.raises(FileTooLargeError):
            await blobs.write(source, "mp4", max_bytes=10)
    assert everything(tmp_path) == []
    await blobs.write(chunks(b"x" * 10), "mp4", max_bytes=10)


async def test_work_folders(blobs: LocalBlobs, tmp_path: Path) -> None:
    for work_id in ("a", "0190-x_Y", "a" * 128):
        folder = blobs.work(work_id)
        assert folder == blobs.work(work_id)
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_bytes(b"x")
    await blobs.drop_work("a")
    await blobs.drop_work("never-made")
    assert len(everything(tmp_path)) == 2
    name = await blobs.write(b"x", "png")
    (tmp_path / "files" / "incoming" / "rest").write_bytes(b"half")
    (tmp_path / "files" / "work" / "link").symlink_to(blobs.path(name).parent)
    await blobs.clear_work()
    assert everything(tmp_path) == [blobs.path(name)]
    assert list((tmp_path / "files" / "work").iterdir()) == []


@pytest.mark.parametrize("work_id", ["", ".", "..", "a/b", "../a", "-a", "_a", "a.b", "a" * 129, "é", "a\n", "a\x00"])
def test_unfit_work_id(blobs: LocalBlobs, work_id: str) -> None:
    with pytest.raises(ValueError, match="work id"):
        blobs.work(work_id)


def test_free_bytes(blobs: LocalBlobs, tmp_path: Path) -> None:
    status = os.statvfs(tmp_path)
    assert 0 < blobs.free_bytes() <= status.f_blocks * status.f_frsize


def test_folders_are_private(blobs: LocalBlobs, tmp_path: Path) -> None:
    assert {path.stat().st_mode & 0o077 for path in [tmp_path / "files", *(tmp_path / "files").iterdir()]} == {0}


WRITER = """
import asyncio, sys
from pathlib import Path
from stillmotion.files.blobs import LocalBlobs

async def parts(number):
    for _ in range(8):
        yield bytes([number % 256]) * 200_000

async def write(blobs, number):
    while True:
        number += 1
        name = await blobs.write(parts(number), "mp4")
        sys.stdout.write(name + "\\n")
        sys.stdout.flush()

async def main():
    blobs = LocalBlobs(Path(sys.argv[1]))
    await asyncio.gather(*(write(blobs, 50 * n) for n in range(4)))

asyncio.run(main())
"""


async def test_killed_writer_leaves_no_half_file(tmp_path: Path) -> None:
    """A name that was given out has its whole file; every listed file is whole. (A kill does not test a power cut.)"""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    root = tmp_path / "files"
    given_out: list[str] = []
    for _ in range(4):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(root)], stdout=subprocess.PIPE) as writer:  # noqa: ASYNC220
            assert writer.stdout is not None
            given_out.append(writer.stdout.readline().decode().strip())
            time.sleep(chance.uniform(0, 0.05))  # noqa: ASYNC251 - nothing else runs on this loop
            writer.send_signal(signal.SIGKILL)
            given_out += writer.stdout.read().decode().split("\n")[:-1]
    blobs = LocalBlobs(root)
    names = await listed(blobs)
    assert set(given_out) <= set(names), seed
    assert given_out
    for name in names:
        content = blobs.path(name).read_bytes()
        assert len(content) == 1_600_000, (seed, name)
        assert content == content[:1] * len(content), (seed, name)
    await blobs.clear_work()
    assert len(everything(tmp_path)) == len(names)


FULL = """
import asyncio, resource, sys
from pathlib import Path
from stillmotion.files.blobs import LocalBlobs

async def parts():
    for _ in range(30):
        yield b"x" * 100_000

async def main():
    blobs = LocalBlobs(Path(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))
    for source in (parts(), b"x" * 3_000_000):
        try:
            await blobs.write(source, "mp4")
        except OSError as error:
            print(error.errno)
    print(blobs.path(await blobs.write(b"x" * 1_000_000, "mp4")).stat().st_size)

asyncio.run(main())
"""


def test_full_disk_leaves_nothing_and_passes(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands in for the full disk: writes fail in the same place, with EFBIG instead of ENOSPC."""
    command = [sys.executable, "-c", FULL, str(tmp_path / "files")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    assert ran.stdout.split() == ["27", "27", "1000000"]
    assert len(everything(tmp_path)) == 1
