"""``stillmotion client-env``: what an unchanged fal client needs to find this server."""

import os
import shlex
from pathlib import Path
from urllib.parse import urlsplit

from stillmotion.cli.running import local_tls, running_state
from stillmotion.errors import ConfigurationError
from stillmotion.settings import Settings

JAVASCRIPT = """\
# JavaScript: the client has no setting for hosts, but takes a fetch of your own. For Node:
#   export NODE_EXTRA_CA_CERTS={ca}
#   const {{ FAL_RUN_HOST, FAL_QUEUE_RUN_HOST }} = process.env;
#   const here = (url) =>
#     String(url).replace("//queue.fal.run", "//" + FAL_QUEUE_RUN_HOST).replace("//fal.run", "//" + FAL_RUN_HOST);
#   const fal = createFalClient({{ fetch: (url, options) => fetch(here(url), options) }});"""
LOCAL_KEY = "local:local"
"""fal's clients refuse to start without a key; a server on loopback accepts any."""


def client_environment(https_url: str, ca_bundle: Path) -> dict[str, str]:
    """Variables for the Python client, which takes hosts with a path and insists on https."""
    parts = urlsplit(https_url)
    if parts.scheme != "https" or not parts.netloc:
        raise ConfigurationError(f"{https_url!r} is not an https URL, which fal's Python client insists on")
    host = parts.netloc + parts.path.rstrip("/")
    exempt = {"localhost", "127.0.0.1", "::1", parts.hostname or "localhost"}
    exempt |= {name for name in os.environ.get("NO_PROXY", "").split(",") if name}
    return {
        "FAL_RUN_HOST": f"{host}/run",
        "FAL_QUEUE_RUN_HOST": f"{host}/queue",
        "FAL_KEY": LOCAL_KEY,
        "SSL_CERT_FILE": str(ca_bundle),
        "NO_PROXY": ",".join(sorted(exempt)),
    }


def print_exports(*, url: str | None, data: Path | None) -> int:
    settings = Settings.load(data=data)
    bundle = local_tls(settings.data).bundle
    for name, value in client_environment(url or _running_url(settings), bundle.resolve()).items():
        print(f"export {name}={shlex.quote(value)}")
    print(JAVASCRIPT.format(ca=shlex.quote(str(bundle.resolve().with_name("ca.pem")))))
    return 0


def _running_url(settings: Settings) -> str:
    """The https URL of the server that runs on the data directory, else the one it would have."""
    state = running_state(settings.data)
    if state is not None:
        if "https" not in state:
            raise ConfigurationError("the running server has https turned off; start it without --tls-port 0")
        return str(state["https"])
    if settings.https_port is None:
        raise ConfigurationError("https is turned off (tls_port = 0)")
    return f"https://localhost:{settings.https_port}"
