"""The server as ``stillmotion serve`` composes it, that is killed by SIGKILL between the commit of a submit and its
reply for as long as the file ``die`` lies in its data directory."""

import argparse
import json
import os
import signal
from pathlib import Path

from stillmotion.app import application, platform
from stillmotion.edge.server import run, serve
from stillmotion.edge.sockets import Listener
from stillmotion.settings import Settings


async def main(data: Path, port: int) -> None:
    settings = Settings.load(data=data, engine="mock")
    trap = data / "die"
    async with platform(settings) as running:
        app = application(running)

        async def dying(scope, receive, send):
            async def send_or_die(message):
                if trap.exists() and scope["method"] == "POST":
                    os.kill(os.getpid(), signal.SIGKILL)
                await send(message)

            await app(scope, receive, send_or_die if scope["type"] == "http" else send)

        def ready(addresses):
            url = f"http://127.0.0.1:{addresses[0].port}"
            (data / "server.json").write_text(json.dumps({"pid": os.getpid(), "http": url, "https": url}))

        await serve(
            dying, [Listener("127.0.0.1", port, None)], on_ready=ready, drain=lambda: running.service.drain(0.0)
        )


parser = argparse.ArgumentParser()
parser.add_argument("--data", type=Path)
parser.add_argument("--port", type=int)
options, _ = parser.parse_known_args()
run(main(options.data, options.port))
