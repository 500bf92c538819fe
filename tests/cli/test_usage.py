"""``stillmotion usage`` beside a running server, after it, and where there is nothing."""

import subprocess
import sys
from dataclasses import fields
from datetime import date, timedelta

import pytest

from serving import ENDPOINT, clean_environment, serving, small
from stillmotion.endpoints.bounds import Bounds
from stillmotion.settings import Settings

LORA = "fal-ai/ltx-2.3-22b/image-to-video/lora"


def usage(data, *arguments):
    command = [sys.executable, "-m", "stillmotion", "usage", "--data", str(data), *arguments]
    return subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=60)


def rows(printed):
    """The cells of each row of the table, its foot included."""
    lines = [line for line in printed.splitlines() if "│" in line]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """A data directory, and what was printed for it before and after three successes, while the server ran."""
    data = tmp_path_factory.mktemp("usage")
    with serving(data, mock_seconds=0.05) as server:
        before = usage(data)
        with server.client() as client:
            for _ in range(2):
                assert client.post(f"/run/{ENDPOINT}", json=small()).status_code == 200
            assert client.post(f"/run/{LORA}", json=small(loras=[])).status_code == 200
            assert client.post(f"/run/{ENDPOINT}", json=small(num_frames=1)).status_code == 422
        during = usage(data)
        assert server.stop() == 0
    return data, before, during


def test_units_cost_and_gpu_seconds_by_key_endpoint_and_day(used):
    _, before, during = used
    assert (before.returncode, before.stdout) == (0, "No request has been completed yet.\n"), before.stderr
    assert during.returncode == 0, during.stderr
    # Two requests of 64x64 pixels and 9 frames: one whole megapixel each; 0.036864 of one, rounded up at the end.
    base, lora, total = rows(during.stdout)
    days = {(date.today() - timedelta(days=n)).isoformat() for n in (0, 1)}
    assert base[0] in days
    assert base[1:-1] == ["local", ENDPOINT, "2", "2 megapixels", "0.0036"]
    assert lora[1:-1] == ["local", LORA, "1", "0.036864 megapixels", "0.0001"]
    assert (total[0], total[3], total[5]) == ("total", "3", "0.0037")
    assert all(float(row[-1]) > 0 for row in (base, lora, total))


def test_it_is_told_without_a_server_too(used):
    data, _, during = used
    assert usage(data).stdout == during.stdout


def test_a_first_day_may_be_named(used):
    data, _, during = used
    assert usage(data, "--since", (date.today() - timedelta(days=2)).isoformat()).stdout == during.stdout
    tomorrow = (date.today() + timedelta(days=2)).isoformat()
    assert usage(data, "--since", tomorrow).stdout == f"No request has been completed since {tomorrow}.\n"
    assert usage(data, "--since", "last week").returncode == 2


def test_where_there_is_no_database_it_says_so(tmp_path):
    done = usage(tmp_path / "nowhere")
    assert done.returncode == 1
    assert "no database" in done.stderr
    assert not (tmp_path / "nowhere").exists()


def test_every_bound_is_a_setting():
    settings = Settings.load()
    for field in fields(Bounds):
        assert getattr(settings, field.name) == getattr(Bounds(), field.name), field.name
