"""Rules that make requests fail or wait: what a client sees is what it would see for a real cause."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import ENDPOINT, Server, clean_environment, serving, submit, wait
from stillmotion.errors import ConfigurationError
from stillmotion.service.rules import Rules, parse_rules

REFUSED_TERM = "lighthouse"


class Ruled:
    """A running server and its file of rules."""

    def __init__(self, server: Server, file: Path) -> None:
        self.server, self.file = server, file

    def set(self, *rules: dict) -> None:
        self.file.write_text(json.dumps({"rules": rules}))

    def outcome(self, **fields: object) -> tuple[dict, httpx2.Response]:
        """Status and result of a request that was waited for."""
        with self.server.client() as client:
            submitted = submit(client, **fields)
            status = wait(client, submitted)
            return status, client.get(submitted["response_url"])


def shape(outcome: tuple[dict, httpx2.Response]) -> dict:
    """Everything a client can see of an error, but what is a request's own."""
    status, result = outcome
    id = status["request_id"]
    own = {"date", "content-length", "x-request-id"}
    return {
        "status": {name: status[name] for name in ("status", "error", "error_type")},
        "code": result.status_code,
        "headers": {name: value.replace(id, "ID") for name, value in result.headers.items() if name not in own},
        "body": result.json(),
    }


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ruled]:
    """A server on which a request takes 30 s unless it is stopped after one, so that rules have something to equal."""
    folder = tmp_path_factory.mktemp("rules")
    (folder / "terms.txt").write_text(f"{REFUSED_TERM}\n")
    file = folder / "rules.json"
    file.write_text("{}")
    limits = {"generation_seconds": 1, "mock_seconds": 30, "safety": "auto", "safety_terms": folder / "terms.txt"}
    with serving(folder / "data", rules_file=file, **limits) as server:
        yield Ruled(server, file)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ruled]:
    folder = tmp_path_factory.mktemp("quick-rules")
    file = folder / "rules.json"
    file.write_text("{}")
    with serving(folder / "data", rules_file=file, mock_seconds=0.05) as server:
        yield Ruled(server, file)


def test_a_timeout_is_the_real_one(running):
    running.set({"action": 504, "match": {"prompt": "^by rule$"}})
    real, ruled = (shape(running.outcome(prompt=prompt)) for prompt in ("for real", "by rule"))
    assert ruled == real
    assert (ruled["code"], ruled["body"]["detail"][0]["type"]) == (504, "generation_timeout")


def test_a_refused_prompt_is_the_real_one(running):
    running.set({"action": "content_policy", "match": {"prompt": "^a windmill$"}})
    real, ruled = (
        shape(running.outcome(prompt=prompt, enable_safety_checker=True))
        for prompt in (f"a {REFUSED_TERM}", "a windmill")
    )
    assert ruled["body"]["detail"][0].pop("input") == "a windmill"
    del real["body"]["detail"][0]["input"]
    assert ruled == real
    assert ruled["code"] == 422


def test_a_field_at_fault_is_the_real_one(running):
    url = "http://127.0.0.1:9/a.png"
    running.set()
    real = shape(running.outcome(image_url=url))
    message = real["body"]["detail"][0]["msg"]
    rule = {"action": 422, "field": "image_url", "type": "file_download_error", "message": message}
    running.set(rule)
    assert shape(running.outcome(image_url=url)) == real
    assert (real["code"], real["body"]["detail"][0]["loc"]) == (422, ["body", "image_url"])


def test_a_value_at_fault_is_shaped_as_the_schemas_own(quick):
    quick.set()
    real = shape(quick.outcome(num_frames=-1))
    [detail] = real["body"]["detail"]
    quick.set({"action": 422, "field": "num_frames", "type": detail["type"], "message": detail["msg"]})
    ruled = shape(quick.outcome(num_frames=9))
    # The bound that was broken is the schema's; a rule has none.
    assert ruled["body"]["detail"] == [{**{k: v for k, v in detail.items() if k != "ctx"}, "input": 9}]
    assert (ruled["status"], ruled["code"]) == (real["status"], real["code"])
    assert ruled["headers"].pop("x-fal-served-from") == "mock"  # the schema's is known before an engine is asked
    assert ruled["headers"] == real["headers"]


def test_an_engine_error_is_500(quick):
    quick.set({"action": 500, "message": "CUDA error"})
    found = shape(quick.outcome())
    assert found["body"] == {"detail": "CUDA error", "message": "CUDA error", "error_type": "runner_server_error"}
    assert (found["code"], found["headers"]["x-fal-error-type"]) == (500, "runner_server_error")


def test_a_crash_costs_an_attempt(quick):
    quick.set({"action": "crash", "times": 1})
    status, result = quick.outcome()
    assert result.status_code == 200
    assert [line["message"] for line in status["logs"] if line["message"].startswith("attempt")] == [
        "attempt 1 of 3",
        "attempt 2 of 3",
    ]


def test_crashes_in_every_attempt_are_503(quick):
    quick.set({"action": "crash"})
    status, result = quick.outcome()
    assert (result.status_code, result.json()["error_type"]) == (503, "runner_disconnected")
    assert result.headers["x-fal-retryable"] == "true"
    assert sum(line["message"].startswith("attempt ") for line in status["logs"]) == 3


def test_a_delay_leaves_the_request_running_and_it_can_be_cancelled(quick):
    quick.set({"action": "delay", "seconds": 3600})
    with quick.server.client() as client:
        submitted = submit(client)
        while (status := client.get(submitted["status_url"]).json()["status"]) == "IN_QUEUE":
            pass
        assert status == "IN_PROGRESS"
        assert client.put(submitted["cancel_url"]).status_code == 202
        wait(client, submitted)
        assert client.get(submitted["response_url"]).status_code == 499


def test_after_a_delay_the_next_rules_are_asked(quick):
    quick.set({"action": "delay", "seconds": 0.01}, {"action": 500, "times": 1}, {"action": 504, "times": 1})
    assert [quick.outcome()[1].status_code for _ in range(3)] == [500, 504, 200]


@pytest.mark.parametrize(
    ("match", "hit"),
    [
        ({}, True),
        ({"endpoint": ENDPOINT}, True),
        ({"endpoint": "fal-ai/ltx-2-19b*"}, True),
        ({"endpoint": "ltx-2-19b"}, False),
        ({"prompt": "(?i)CAT"}, True),
        ({"prompt": "^dog"}, False),
        ({"num_frames": "^9$"}, True),
        ({"video_size": '"width": 64'}, True),
        ({"seed": "."}, False),
        ({"prompt": "cat", "endpoint": "fal-ai/other"}, False),
    ],
)
def test_every_part_of_a_match_must_fit(match, hit):
    [rule] = parse_rules([{"action": 500, "match": match}])
    body = {"prompt": "a cat", "num_frames": 9, "video_size": {"width": 64, "height": 64}}
    assert rule.fits(ENDPOINT, body) == hit


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({}, "action: Field required"),
        ({"action": "explode"}, "action"),
        ({"action": 422, "match": {"prompt": "("}}, "regular expression"),
        ({"action": 500, "times": 0}, "times"),
        ({"action": 500, "field": "prompt"}, "field does not go with the action 500"),
        ({"action": "delay"}, "delay needs seconds"),
        ({"action": "delay", "seconds": -1}, "seconds"),
        ({"action": 422, "type": "Not A Type"}, "type"),
        ({"action": 500, "when": "always"}, "when"),
        (7, "valid dictionary"),
    ],
)
def test_a_rule_that_cannot_be_is_told_by_its_number(rule, told):
    with pytest.raises(ConfigurationError) as error:
        parse_rules([{"action": 500}, rule])
    assert error.value.message.startswith("rule 2: ")
    assert told in error.value.message


def test_rules_stand_in_the_configuration_file(tmp_path):
    (tmp_path / "stillmotion.toml").write_text('[[rules]]\naction = 500\n\n[[rules]]\naction = "delay"\n')
    command = [sys.executable, "-m", "stillmotion", "serve", "--engine", "mock", "--data", str(tmp_path / "data")]
    done = subprocess.run(
        command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (1, "stillmotion: rule 2: delay needs seconds\n")


def test_a_file_that_became_unfit_is_told_to_whoever_asks(quick):
    quick.file.write_text('{"rules": [{"action": "explode"}]}')
    status, result = quick.outcome()
    assert result.status_code == 500
    assert "rules.json: rule 1: action" in status["error"]


@given(changes=st.lists(st.lists(st.sampled_from(["a", "b", "c"]), max_size=4), max_size=5))
async def test_a_rule_keeps_its_count_while_it_stays(tmp_path_factory, changes):
    """Each rule answers once in its life, however often others come and go around it."""
    file = tmp_path_factory.getbasetemp() / "life.json"
    file.write_text("{}")
    rules, spent = Rules(file=file), []
    for present in changes:
        file.write_text(json.dumps({"rules": [{"action": 500, "times": 1, "message": name} for name in present]}))
        said = []
        for _ in range(5):
            try:
                await rules.meet(ENDPOINT, {}, lambda *_: None)
            except Exception as error:
                said.append(str(error))
        left = list(present)
        spent = [name for name in spent if name in left and not left.remove(name)]
        assert sorted(said) == sorted(left)
        spent += said
