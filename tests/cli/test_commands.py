"""The command line as a person meets it: real processes, real files, real exit codes."""

import json
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from requirements import need_package
from serving import ENDPOINT, clean_environment, picture, serving, small
from stillmotion.settings import Settings, settings_table

ROOT = Path(__file__).parents[2]


def stillmotion(*arguments, cwd=None, stdin=None, **environment):
    return subprocess.run(
        [sys.executable, "-m", "stillmotion", *map(str, arguments)],
        env=clean_environment(environment),
        capture_output=True,
        text=True,
        timeout=90,
        cwd=cwd,
        input=stdin,
    )


@pytest.fixture
def photograph(tmp_path):
    path = tmp_path / "a picture.png"
    path.write_bytes(picture(200, 150))
    return path


class TestGenerate:
    def generate(self, tmp_path, fields, *options, **environment):
        request = tmp_path / "request.json"
        request.write_text(json.dumps(fields))
        arguments = (ENDPOINT, "--input", request, "-o", tmp_path / "out.mp4", *options)
        return stillmotion("generate", *arguments, **environment)

    def test_one_request_without_a_server(self, tmp_path, photograph):
        done = self.generate(tmp_path, small(image_url=str(photograph), seed=4), "--engine", "mock")
        assert done.returncode == 0, done.stderr
        output = json.loads(done.stdout)
        assert output["seed"] == 4
        assert output["video"]["url"] == (tmp_path / "out.mp4").as_uri()
        with av.open(str(tmp_path / "out.mp4")) as container:
            assert sum(1 for _ in container.decode(video=0)) == 9

    def test_a_video_can_be_made_again_from_itself(self, tmp_path, photograph):
        self.generate(tmp_path, small(image_url=str(photograph)), "--engine", "mock")
        again = tmp_path / "again.mp4"
        done = stillmotion(
            "generate", ENDPOINT, "--input", tmp_path / "out.mp4", "-o", again, "--engine", "mock", cwd=tmp_path
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert again.read_bytes() == (tmp_path / "out.mp4").read_bytes()

    @pytest.mark.parametrize("sync_mode", [False, True])
    def test_on_a_running_server(self, tmp_path, mock_server, sync_mode):
        done = self.generate(tmp_path, small(sync_mode=sync_mode), "--url", mock_server.http)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "out.mp4").stat().st_size == json.loads(done.stdout)["video"]["file_size"]

    def test_a_running_server_does_not_read_local_paths(self, tmp_path, photograph, mock_server):
        done = self.generate(tmp_path, small(image_url=str(photograph)), "--url", mock_server.http)
        assert done.returncode == 1
        assert json.loads(done.stdout)["detail"][0]["type"] == "file_download_error"

    @pytest.mark.parametrize(
        ("fields", "kind"),
        [({"num_frames": 1}, "greater_than_equal"), ({"image_url": "/nowhere.png"}, "file_download_error")],
    )
    def test_a_fault_is_the_error_that_the_api_gives(self, tmp_path, fields, kind):
        done = self.generate(tmp_path, small(**fields), "--engine", "mock")
        assert done.returncode == 1
        assert json.loads(done.stdout)["detail"][0]["type"] == kind
        assert not (tmp_path / "out.mp4").exists()

    def test_an_unknown_endpoint_is_told(self, tmp_path):
        request = tmp_path / "request.json"
        request.write_text("{}")
        done = stillmotion("generate", "fal-ai/none", "--input", request, "-o", tmp_path / "o.mp4", "--engine", "mock")
        assert done.returncode == 1
        assert "fal-ai/none" in json.loads(done.stdout)["detail"]

    def test_input_that_is_no_json_is_told(self, tmp_path):
        done = stillmotion(
            "generate", ENDPOINT, "--input", "-", "-o", tmp_path / "o.mp4", "--engine", "mock", stdin="{nope"
        )
        assert done.returncode == 1
        assert "cannot be read as JSON" in done.stderr


class TestClientEnv:
    def test_prints_what_the_running_server_is_reached_by(self, mock_server):
        environment = mock_server.environment()
        host = mock_server.https.removeprefix("https://")
        assert environment["FAL_RUN_HOST"] == f"{host}/run"
        assert environment["FAL_QUEUE_RUN_HOST"] == f"{host}/queue"
        assert ":" in environment["FAL_KEY"]
        assert "localhost" in environment["NO_PROXY"].split(",")

    def test_the_bundle_holds_the_systems_roots_and_ours(self, mock_server):
        context = ssl.create_default_context(cafile=mock_server.environment()["SSL_CERT_FILE"])
        names = [dict(pair[0] for pair in ca["subject"]).get("commonName", "") for ca in context.get_ca_certs()]
        assert len(names) > 20
        assert any("Stillmotion" in name for name in names)
        with urllib.request.urlopen(mock_server.https + "/health/live", context=context, timeout=10) as answer:
            assert answer.status == 200

    def test_the_javascript_part_is_a_comment(self, mock_server):
        printed = stillmotion("client-env", "--data", mock_server.data).stdout
        assert all(line.startswith(("export ", "#")) for line in printed.splitlines())
        assert "createFalClient" in printed

    def test_without_a_server_the_default_ports_are_meant(self, tmp_path):
        printed = stillmotion("client-env", "--data", tmp_path).stdout
        assert "FAL_RUN_HOST=localhost:8443/run" in printed

    def test_another_url_may_be_named(self, tmp_path):
        printed = stillmotion("client-env", "--data", tmp_path, "--url", "https://gpu.lan:9443").stdout
        assert "FAL_QUEUE_RUN_HOST=gpu.lan:9443/queue" in printed
        refused = stillmotion("client-env", "--data", tmp_path, "--url", "http://gpu.lan")
        assert refused.returncode == 1
        assert "https" in refused.stderr


class TestServe:
    def test_a_server_for_others_speaks_https_or_is_told_to_do_without(self, tmp_path):
        wide = ("serve", "--engine", "mock", "--host", "127.1", "--data", tmp_path)
        done = stillmotion(*wide, "--tls-port", "0", STILLMOTION_SAFETY="off")
        assert done.returncode == 1
        assert "--insecure-http" in done.stderr

    def test_a_taken_port_is_told(self, tmp_path):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            done = stillmotion("serve", "--engine", "mock", "--port", port, "--tls-port", "0", "--data", tmp_path)
        assert done.returncode == 1
        assert str(port) in done.stderr
        assert "Traceback" not in done.stderr

    def test_a_second_server_on_the_same_data_is_refused(self, mock_server):
        done = stillmotion("serve", "--engine", "mock", "--port", "0", "--data", mock_server.data)
        assert done.returncode == 1
        assert "another Stillmotion server" in done.stderr
        with mock_server.client() as client:
            assert client.get("/health/ready").status_code == 200

    def test_a_model_that_does_not_exist_is_told(self, tmp_path):
        done = stillmotion("serve", "--port", "0", "--data", tmp_path, "--model", "all=nothing")
        assert done.returncode == 1
        assert "nothing" in done.stderr

    def test_settings_that_do_not_fit_are_named(self, tmp_path):
        done = stillmotion("serve", "--data", tmp_path, STILLMOTION_MAX_ATTEMPTS="0")
        assert done.returncode == 1
        assert "max_attempts" in done.stderr

    def test_a_heartbeat_slower_than_the_lease_is_refused(self, tmp_path):
        done = stillmotion("serve", "--data", tmp_path, STILLMOTION_HEARTBEAT_SECONDS="30")
        assert done.returncode == 1
        assert "heartbeat_seconds" in done.stderr

    def test_it_can_be_stopped_while_it_starts(self, tmp_path):
        """The first start on random weights builds them, for which there is plenty of time to think again."""
        need_package("torch", "pip install 'stillmotion[engine]'")
        settings = {"STILLMOTION_MODELS": str(tmp_path / "models"), "STILLMOTION_MODEL": "all=tiny-ltx-2"}
        environment = clean_environment(settings)
        command = [sys.executable, "-m", "stillmotion", "serve", "--port", "0", "--data", str(tmp_path / "data")]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
        while not (tmp_path / "models").exists():
            assert process.poll() is None, process.stderr.read().decode()
            time.sleep(0.05)
        process.terminate()
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0, errors.decode()
        assert not (tmp_path / "models" / "tiny-ltx-2").exists()

    def test_it_stops_cleanly_and_takes_its_traces_with_it(self, tmp_path):
        with serving(tmp_path) as server:
            assert server.stop() == 0
            assert not (tmp_path / "server.json").exists()


class TestSettings:
    def test_flags_win_over_the_environment_over_the_file(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "stillmotion.toml").write_text('port = 1\nmax_attempts = 4\n[model]\nall = "a"\n')
        monkeypatch.setenv("STILLMOTION_PORT", "2")
        monkeypatch.setenv("STILLMOTION_FETCH_ALLOW", "10.0.0.0/8, nas.lan")
        loaded = Settings.load(host="127.0.0.2", data=None)
        assert (loaded.host, loaded.port, loaded.max_attempts) == ("127.0.0.2", 2, 4)
        assert loaded.model == {"all": "a"}
        assert loaded.fetch_allow == ("10.0.0.0/8", "nas.lan")
        assert Settings.load(port=3).port == 3
        assert Settings.load(port=3).https_port == 446
        assert Settings.load(port=0).https_port == 0
        assert Settings.load(tls_port=0).https_port is None

    def test_every_setting_has_a_help_and_stands_in_the_docs(self):
        assert all(field.description for field in Settings.model_fields.values())
        assert (ROOT / "docs" / "settings.md").read_text().endswith(settings_table())


class TestDemo:
    def test_the_mock_demo_says_what_happens_and_saves_the_video(self, tmp_path, photograph):
        need_package("fal_client", "pip install 'stillmotion[demo]'")
        target, preview = tmp_path / "demo.mp4", tmp_path / "demo.webp"
        mock = ("demo", "--engine", "mock", "--image", photograph)
        # Whatever this machine's own server is set to: hidden files, and https off.
        (tmp_path / "stillmotion.toml").write_text('file_access = "hide"\ntls_port = 0\n')
        done = stillmotion(*mock, "-o", target, "--preview", preview, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        for words in ("its certificate and health are good", "mock engine", "288x192, 25 frames", "has stopped"):
            assert words in done.stdout
        with av.open(str(target)) as container:
            assert sum(1 for _ in container.decode(video=0)) == 25
        with Image.open(preview) as shown:
            assert (shown.format, shown.size, shown.info["loop"]) == ("WEBP", (288, 192), 0)

    def test_a_preview_that_is_no_picture_is_refused_before_anything_is_made(self, tmp_path, photograph):
        target = tmp_path / "demo.mp4"
        done = stillmotion("demo", "--engine", "mock", "-o", target, "--preview", "demo.png", cwd=tmp_path)
        assert done.returncode == 1
        assert "a preview is a .webp or .gif file, not demo.png" in done.stderr
        assert not target.exists()

    def test_the_engine_demo_gives_pictures_that_move_and_sound_that_lives(self, tmp_path, tiny_models):
        target = tmp_path / "demo.mp4"
        photograph = ROOT / "examples" / "chelsea.png"
        models = {"STILLMOTION_MODELS": str(tiny_models), "STILLMOTION_MODEL": "all=tiny-ltx-2"}
        done = stillmotion("demo", "--image", photograph, "-o", target, cwd=tmp_path, **models)
        assert done.returncode == 0, done.stdout + done.stderr
        steps = [line.strip() for line in done.stdout.splitlines() if "denoising step" in line]
        assert steps == [
            f"denoising step {step} of {steps}, stage {stage} of 2"
            for stage, steps in ((1, 8), (2, 3))
            for step in range(1, steps + 1)
        ]
        assert "engine process " in done.stdout
        assert "demonstration" in done.stdout
        with av.open(str(target)) as container:
            frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
            container.seek(0)
            sound = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
        assert np.stack(frames).shape == (25, 192, 288)
        assert min(np.abs(a.astype(int) - b).mean() for a, b in pairwise(frames)) > 1
        assert sound.std() > 0.01
        assert np.abs(np.diff(sound)).mean() > 0.001

    def test_a_server_that_cannot_start_is_told_with_its_reason(self, tmp_path, photograph):
        done = stillmotion("demo", "--image", photograph, "-o", tmp_path / "demo.mp4", STILLMOTION_MODEL="all=nothing")
        assert done.returncode == 1
        assert "did not start" in done.stderr
        assert "nothing" in done.stderr
