"""The page on webhooks: its samples verify what is really sent, and its numbers are the code's."""

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from webhook_receiver import Received

from requirements import need_program
from serving import clean_environment
from stillmotion.api.webhooks import MAX_INLINE
from stillmotion.files.urls import MAX_URL_LENGTH
from stillmotion.service.webhook_delivery import IN_ALL, INTERNAL_ERROR, PER_HOST
from stillmotion.service.webhook_schedule import STEPS, Schedule
from stillmotion.service.webhook_sender import ANSWER_BYTES, NO_ANSWER, TIMEOUT, TLS_ERROR, UNREACHABLE
from stillmotion.store.outbox import INTERRUPTED

PAGE = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()


def sample(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return found


def python(received: Received, keys: list[dict[str, str]]) -> bool:
    names: dict[str, object] = {}
    exec(sample("python"), names)
    headers = {name.lower(): value for name, value in received.headers.items()}
    return names["is_genuine"](headers, received.body, keys)  # type: ignore[operator]


def javascript(received: Received, keys: list[dict[str, str]]) -> bool:
    need_program("node")
    headers = {name.lower(): value for name, value in received.headers.items()}
    arguments = f"{json.dumps(headers)}, Buffer.from({received.body.hex()!r}, 'hex'), {json.dumps(keys)}"
    call = f"console.log(isGenuine({arguments}))"
    done = subprocess.run(
        ["node", "--input-type=module", "-e", f"{sample('javascript')}\n{call}"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("verify", [python, javascript])
def test_the_samples_verify_what_is_sent(receiver, webhooks, verify):
    (received,) = receiver.wait(webhooks.submit(f"{receiver.url}/sample", num_frames=3))
    keys = webhooks.keys()
    assert verify(received, keys) is True
    assert verify(replace(received, body=received.body + b" "), keys) is False
    old = str(int(received.headers["X-Fal-Webhook-Timestamp"]) - 400)
    assert verify(replace(received, headers={**received.headers, "X-Fal-Webhook-Timestamp": old}), keys) is False
    assert verify(replace(received, headers={}), keys) is False
    assert verify(received, []) is False


def test_the_numbers_are_the_codes():
    seconds = [Schedule().unit * step for step in STEPS]
    assert seconds == [5, 15, 45, *(60 * minutes for minutes in (2, 5, 10, 15, 20, 30, 45))]
    text = " ".join(PAGE.split())
    for told in (
        "Eleven attempts are made, after 5 s, 15 s, 45 s, 2, 5, 10, 15, 20, 30 and 45 minutes",
        "within 15 seconds at first, 120 seconds later",
        f"up to {MAX_INLINE >> 20} MiB of file",
        f"at most {ANSWER_BYTES >> 10} KiB",
        f"longer than {MAX_URL_LENGTH} characters",
        "2 hours 8 minutes at least",
    ):
        assert told in text, told
    assert (PER_HOST, IN_ALL) == (4, 64)
    assert "Four at a time for one host, 64 in all" in text
    assert sum(seconds) // 60 == 128
    for word in (UNREACHABLE, TLS_ERROR, TIMEOUT, NO_ANSWER, INTERRUPTED, INTERNAL_ERROR):
        assert f"| `{word}` |" in PAGE
