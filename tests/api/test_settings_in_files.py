"""A file says how it was made, and can be made again from what it says."""

import json

import pytest

from serving import ENDPOINT, serving, small
from stillmotion.media.probe import read_settings


def made(server, client, folder, **fields):
    """The settings in the file of a request, and its output."""
    answer = client.post(f"/run/{ENDPOINT}", json=small(**fields))
    output = answer.json()
    path = folder / output["video"]["file_name"]
    path.write_bytes(client.get(output["video"]["url"]).content)
    return read_settings(path), output


@pytest.mark.parametrize("kind", ["X264 (.mp4)", "GIF (.gif)"])
def test_the_input_with_the_seed_that_was_used(mock_server, tmp_path, kind):
    with mock_server.client() as client:
        text, output = made(mock_server, client, tmp_path, video_output_type=kind, prompt="a “quoted” 猫")
        told = json.loads(text)
        assert (told["endpoint"], told["model"]) == (ENDPOINT, "mock")
        given = small(video_output_type=kind, prompt="a “quoted” 猫", seed=output["seed"])
        del given["image_url"]
        assert told["input"] == given, "a data URI is left out, nothing else is"
        again, repeated = made(mock_server, client, tmp_path, **told["input"])
    assert json.loads(again) == told
    assert repeated["seed"] == output["seed"]


def test_an_input_that_is_too_long_is_left_out(mock_server, tmp_path):
    with mock_server.client() as client:
        assert made(mock_server, client, tmp_path, note="x" * 15_000)[0] is not None
        assert made(mock_server, client, tmp_path, note="x" * 16_384)[0] is None


def test_a_setting_turns_it_off(tmp_path):
    with (
        serving(tmp_path / "data", mock_seconds=0.05, embed_settings="false") as server,
        server.client() as client,
    ):
        assert made(server, client, tmp_path)[0] is None
