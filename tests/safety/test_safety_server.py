"""The whole way: a real server, real HTTP, the real engine process and a classifier beside it."""

import io
import sqlite3

import pytest
from colour_classifier import NOT_GREEN, plain
from PIL import Image

from serving import ENDPOINT, data_uri, serving, small, submit, wait

MESSAGE = "The content could not be processed because it was flagged by a content checker."
TERMS = "# refused here\nnaked\n/child.{0,20}weapon/\n"
UNREACHABLE = "http://127.0.0.1:9/never.png"


def coloured(*colour):
    stream = io.BytesIO()
    Image.fromarray(plain(*colour, size=(64, 96))).save(stream, "PNG")
    return data_uri(stream.getvalue())


def refusal(answer, field):
    """The input that a refusal echoes, once everything else about it is as documented."""
    assert answer.status_code == 422, answer.text
    assert answer.headers["x-fal-retryable"] == "false"
    assert answer.headers["x-fal-needs-retry"] == "0"
    assert answer.headers["x-fal-billable-units"] == "0"
    assert "x-stillmotion-safety" not in answer.headers
    (detail,) = answer.json()["detail"]
    echoed = detail.pop("input")
    assert detail == {
        "loc": ["body", field],
        "msg": MESSAGE,
        "type": "content_policy_violation",
        "url": "https://docs.fal.ai/errors/#content_policy_violation",
    }
    return echoed


def messages(status, level):
    return [line["message"] for line in status["logs"] if line["level"] == level]


@pytest.fixture(scope="module")
def terms(tmp_path_factory):
    path = tmp_path_factory.mktemp("terms") / "terms.txt"
    path.write_text(TERMS)
    return path


@pytest.fixture(scope="module")
def mock(tmp_path_factory, terms):
    with serving(tmp_path_factory.mktemp("mock"), mock_seconds=0.05, safety_terms=terms) as server:
        yield server


@pytest.fixture(scope="module")
def engine(tmp_path_factory, tiny_models, red_classifier, terms):
    settings = {"models": tiny_models, "model": "all=tiny-ltx-2", "threads": 1}
    settings |= {"safety_model": red_classifier, "safety_terms": terms}
    with serving(tmp_path_factory.mktemp("auto"), engine="process", **settings) as server:
        yield server


@pytest.fixture(scope="module")
def strict(tmp_path_factory, tiny_models, build_classifier):
    """Checks whether it is asked to or not, and refuses what is not green: a random model's video never is."""
    classifier = build_classifier(NOT_GREEN, at=-0.5)
    settings = {"models": tiny_models, "model": "all=tiny-ltx-2", "threads": 1}
    settings |= {"safety": "required", "safety_model": classifier}
    with serving(tmp_path_factory.mktemp("required"), engine="process", **settings) as server:
        yield server


@pytest.mark.parametrize("prompt", ["a naked man", "a NA\u200bKED man", "a \uff4e\uff41\uff4b\uff45\uff44 man"])
def test_a_refused_prompt_is_told_before_anything_is_fetched(mock, prompt):
    with mock.client() as client:
        request = submit(client, prompt=prompt, image_url=UNREACHABLE)
        status = wait(client, request)
        assert (status["error"], status["error_type"]) == (MESSAGE, "content_policy_violation")
        assert refusal(client.get(request["response_url"]), "prompt") == prompt
        assert refusal(client.post(f"/run/{ENDPOINT}", json=small(prompt=prompt)), "prompt") == prompt


@pytest.mark.parametrize("prompt", ["Scunthorpe and snakednation", "the weapon of a child"])
def test_an_innocent_prompt_is_not(mock, prompt):
    with mock.client() as client:
        assert client.post(f"/run/{ENDPOINT}", json=small(prompt=prompt)).status_code == 200


def test_the_caller_may_switch_the_checker_off(mock):
    with mock.client() as client:
        request = submit(client, prompt="naked", enable_safety_checker=False)
        status = wait(client, request)
        answer = client.get(request["response_url"])
        assert answer.status_code == 200, answer.text
        assert "x-stillmotion-safety" not in answer.headers
        assert not any("safety" in message for message in messages(status, "WARN"))


def test_an_endpoint_without_the_switch_is_checked(mock):
    with mock.client() as client:
        body = {"prompt": "naked", "image_url": UNREACHABLE}
        refusal(client.post("/run/fal-ai/ltx-2.3/image-to-video", json=body), "prompt")


def test_what_nobody_checked_says_so(mock):
    with mock.client() as client:
        request = submit(client)
        status = wait(client, request)
        assert client.get(request["response_url"]).headers["x-stillmotion-safety"] == "unchecked"
        assert [message for message in messages(status, "WARN") if "safety" in message] == [
            "there is no safety checker: neither the pictures nor the video are checked"
        ]


def test_a_flagged_picture_is_refused_at_its_field(engine):
    red = coloured(250, 10, 10)
    with engine.client() as client:
        request = submit(client, image_url=red)
        status = wait(client, request)
        assert status["error_type"] == "content_policy_violation"
        assert "the safety checker refuses the picture of image_url: nsfw 1.00" in messages(status, "WARN")
        assert not any("denoising" in message for message in messages(status, "INFO"))
        assert red.startswith(refusal(client.get(request["response_url"]), "image_url").rstrip("…"))
        later = submit(client, end_image_url=red)
        wait(client, later)
        refusal(client.get(later["response_url"]), "end_image_url")


def test_what_was_checked_says_so(engine):
    with engine.client() as client:
        request = submit(client)
        status = wait(client, request)
        answer = client.get(request["response_url"])
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-stillmotion-safety"] == "checked"
        assert client.post(f"/run/{ENDPOINT}", json=small()).headers["x-stillmotion-safety"] == "checked"
        (seconds,) = [message for message in messages(status, "INFO") if message.startswith("seconds: ")]
        assert "safety " in seconds


def test_who_switches_it_off_is_neither_refused_nor_told(engine):
    with engine.client() as client:
        body = small(prompt="naked", image_url=coloured(250, 10, 10), enable_safety_checker=False)
        answer = client.post(f"/run/{ENDPOINT}", json=body)
        assert answer.status_code == 200, answer.text
        assert "x-stillmotion-safety" not in answer.headers


def test_a_flagged_video_leaves_no_file_and_costs_nothing(strict):
    with strict.client() as client:
        request = submit(client, image_url=coloured(10, 250, 10))
        status = wait(client, request)
        assert any("denoising step 8 of 8" in message for message in messages(status, "INFO"))
        assert [message for message in messages(status, "WARN") if "refuses" in message] == [
            "the safety checker refuses the video: nsfw 1.00"
        ]
        assert refusal(client.get(request["response_url"]), "prompt") == "a test"
    assert [path for path in (strict.data / "files").rglob("*") if path.is_file()] == []
    with sqlite3.connect(strict.data / "stillmotion.db") as store:
        rows = store.execute("SELECT state, cost, safety FROM requests WHERE id = ?", [request["request_id"]])
        assert rows.fetchall() == [("failed", None, None)]
        assert store.execute("SELECT count(*) FROM files").fetchone() == (0,)


def test_nobody_switches_off_what_the_operator_requires(strict):
    with strict.client() as client:
        body = small(image_url=coloured(250, 10, 10), enable_safety_checker=False)
        refusal(client.post(f"/run/{ENDPOINT}", json=body), "image_url")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"safety": "required"}, "the mock engine cannot run one"),
        ({"safety_terms": "/nowhere"}, "cannot be read"),
    ],
)
def test_a_server_that_cannot_check_as_told_does_not_start(tmp_path, settings, told):
    with pytest.raises(AssertionError, match=told), serving(tmp_path, **settings):
        pass
