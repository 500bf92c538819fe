"""The process border: every message survives it, nothing else passes."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillmotion.errors import BundleError, OutOfMemory
from stillmotion.executor.failures import failed
from stillmotion.executor.messages import (
    MAX_LINE,
    Cancel,
    Configure,
    Loaded,
    Message,
    Ready,
    Report,
    Run,
    Shutdown,
    Unfit,
    decode,
    encode,
)
from stillmotion.job import (
    Cancelled,
    Done,
    Encoding,
    Failed,
    Job,
    Keyframe,
    Log,
    Media,
    Model,
    Progress,
    Stage,
    Work,
)

TEXT = st.text(max_size=60)
NUMBER = st.integers(0, 10_000)
SECONDS = st.floats(0, 1e6)
PARTS = {
    float: SECONDS,
    str: TEXT,
    Job: st.builds(
        Job,
        model=TEXT,
        prompt=TEXT,
        negative_prompt=TEXT,
        width=NUMBER,
        height=NUMBER,
        num_frames=NUMBER,
        fps=SECONDS,
        seed=st.integers(0, 2**63),
        audio=st.booleans(),
        keyframes=st.lists(st.builds(Keyframe, image=TEXT, frame=NUMBER, strength=SECONDS), max_size=2).map(tuple),
        stages=st.lists(
            st.builds(Stage, width=NUMBER, height=NUMBER, num_frames=NUMBER, fps=SECONDS, steps=NUMBER), max_size=2
        ).map(tuple),
    ),
}
WORKS = st.builds(
    Work,
    id=TEXT,
    job=PARTS[Job],
    encoding=st.builds(Encoding),
    images=st.dictionaries(TEXT, TEXT, max_size=2),
    output=TEXT,
)
EVENTS = st.one_of(
    st.builds(Log, message=TEXT),
    st.builds(Progress, stage=NUMBER, stages=NUMBER, step=NUMBER, total=NUMBER),
    st.builds(
        Done,
        media=st.builds(
            Media, width=NUMBER, height=NUMBER, num_frames=NUMBER, fps=SECONDS, duration=SECONDS, size=NUMBER
        ),
        seconds=st.dictionaries(TEXT, SECONDS, max_size=3),
    ),
    st.builds(Failed, kind=TEXT, message=TEXT, fatal=st.booleans()),
    st.just(Cancelled()),
)
MODELS = st.builds(
    Model, name=TEXT, family=st.sampled_from(["ltx-2", "ltx-2.3"]), max_pixels=st.none() | NUMBER, demonstration=...
)
MESSAGES = st.one_of(
    st.builds(
        Configure,
        bundles=st.dictionaries(TEXT, TEXT, max_size=3),
        device=TEXT,
        dtype=TEXT,
        threads=st.none() | NUMBER,
        parent=NUMBER,
    ),
    st.builds(Ready, models=st.lists(MODELS, max_size=3).map(tuple)),
    st.builds(Unfit, kind=TEXT, message=TEXT),
    st.builds(Loaded, model=TEXT, device=TEXT, seconds=SECONDS),
    st.builds(Run, work=WORKS),
    st.builds(Report, work_id=TEXT, event=EVENTS),
    st.builds(Cancel, work_id=TEXT),
    st.just(Shutdown()),
)


@given(MESSAGES)
def test_every_message_survives_as_one_line(message: Message) -> None:
    line = encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line) == message


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"progress: 50 %",
        b"[]",
        b"{}",
        b'{"type": "Explode"}',
        b'{"type": "Cancel"}',
        b'{"type": "Cancel", "work_id": 3}',
        b'{"type": "Shutdown", "now": true}',
        b'{"type": "Report", "work_id": "a", "event": {"type": "Message", "message": "x"}}',
        b'{"type": "Report", "work_id": "a", "event": null}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="not a message"):
        decode(line)


@given(
    st.binary(max_size=200) | st.recursive(st.none() | TEXT | NUMBER, st.lists).map(lambda v: json.dumps(v).encode())
)
def test_garbage_is_refused_and_nothing_worse(line: bytes) -> None:
    with pytest.raises(ValueError, match="not a message"):
        decode(line)


def test_a_message_has_a_greatest_length() -> None:
    with pytest.raises(ValueError, match="longer than"):
        encode(Unfit(kind="bundle_error", message="x" * MAX_LINE))


def test_the_longest_documented_work_fits() -> None:
    prompt = "\N{FIRE}" * 5000
    job = Job(
        model="m",
        prompt=prompt,
        negative_prompt=prompt,
        width=1920,
        height=1080,
        num_frames=481,
        fps=50,
        seed=2**63,
        audio=True,
        keyframes=(),
        stages=(),
    )
    encode(
        Run(work=Work(id="x" * 64, job=job, encoding=Encoding(), images={"image_url": "/" * 4096}, output="/" * 4096))
    )


def test_what_libraries_print_does_not_reach_the_channel() -> None:
    """Python's print, a child's echo and C's own write to descriptor 1 all go to stderr."""
    program = (
        "import os, subprocess\n"
        "from stillmotion.executor.host import claim_channel\n"
        "from stillmotion.executor.messages import Shutdown\n"
        "channel = claim_channel()\n"
        "print('printed', flush=True)\n"
        "os.write(1, b'written\\n')\n"
        "subprocess.run(['echo', 'echoed'])\n"
        "channel.send(Shutdown())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], input=b"", capture_output=True, timeout=30, check=True)
    assert done.stdout == encode(Shutdown())
    assert done.stderr.split() == [b"printed", b"written", b"echoed"]


def test_an_error_of_ours_keeps_its_kind() -> None:
    event = failed(OutOfMemory("out of memory on cuda:0: 3.00 GiB more were needed"))
    assert event == Failed(
        kind="out_of_memory", message="out of memory on cuda:0: 3.00 GiB more were needed", fatal=False
    )
    assert failed(BundleError("no such bundle")).kind == "bundle_error"


def test_a_foreign_error_is_told_in_one_short_line() -> None:
    event = failed(RuntimeError("shapes differ\nTraceback ...\n" + "x" * 9000))
    assert event == Failed(kind="engine_error", message="RuntimeError: shapes differ", fatal=False)
    assert len(failed(RuntimeError("x" * 9000)).message) <= 500
    assert failed(KeyError()).message == "KeyError"
    assert failed(FileNotFoundError(2, "No such file or directory", "/secret/place")).message == (
        "FileNotFoundError: No such file or directory"
    )
