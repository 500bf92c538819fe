"""``stillmotion demo``: the whole way once, as a user of fal's client would go it."""

import importlib.util
import os
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from stillmotion.cli.client_env import client_environment
from stillmotion.cli.demo_preview import check_preview, write_preview
from stillmotion.cli.private_server import private_server
from stillmotion.cli.running import local_tls
from stillmotion.errors import ConfigurationError, StillmotionError

EXAMPLES = (Path(__file__).parents[1] / "examples", Path(__file__).parents[3] / "examples")
"""The photographs in an installed package, and in a checkout."""


class DemoFailed(StillmotionError):
    """The demo failed."""


def run_demo(*, engine: str | None, output: Path, image: Path | None, prompt: str, preview: Path | None) -> int:
    if importlib.util.find_spec("fal_client") is None:
        raise ConfigurationError("the demo uses fal's own client: pip install 'stillmotion[demo]'")
    if preview is not None:
        check_preview(preview)
    picture = image or _example("chelsea.png")
    with tempfile.TemporaryDirectory(prefix="stillmotion-demo-") as folder:
        data = Path(folder) / "data"
        print(f"starting a server with the {engine or 'process'} engine", flush=True)
        # The client here has neither a key nor a signature for the video that it saves.
        with private_server(data, engine, {"file_access": "allow"}) as url:
            environment = client_environment(url, local_tls(data).bundle)
            _check(url, environment["SSL_CERT_FILE"])
            print(f"{url} is up, its certificate and health are good", flush=True)
            print(f"sending {picture.name} with fal's Python client: {prompt!r}", flush=True)
            started = time.monotonic()
            _run_client(picture, prompt, output, environment)
            print(f"saved {output} after {time.monotonic() - started:.1f} s", flush=True)
            if preview is not None:
                write_preview(output, preview)
                print(f"saved {preview}, its preview", flush=True)
    print("the server has stopped", flush=True)
    return 0


def _check(url: str, ca_bundle: str) -> None:
    """The server's certificate and health, before anything is sent: what is wrong is told at once."""
    context = ssl.create_default_context(cafile=ca_bundle)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        opener.open(f"{url}/health/ready", timeout=5).close()
    except urllib.error.HTTPError as error:
        raise DemoFailed(f"the server is not ready: {error.read().decode(errors='replace')}") from None
    except OSError as error:
        raise DemoFailed(f"{url} cannot be used: {error}") from None


def _run_client(image: Path, prompt: str, output: Path, environment: dict[str, str]) -> None:
    program = Path(__file__).with_name("demo_client.py")
    command = [sys.executable, str(program), str(image), prompt, str(output)]
    if subprocess.run(command, env={**os.environ, **environment}).returncode != 0:
        raise DemoFailed("the client program failed; its error is above")


def _example(name: str) -> Path:
    for folder in EXAMPLES:
        if (folder / name).is_file():
            return folder / name
    raise ConfigurationError("no example photograph is installed; name one with --image")
