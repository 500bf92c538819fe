"""The environment in which programs that were written for fal reach a server of ours, whatever their HTTP library."""

import json
import os
from pathlib import Path

from stillmotion.cli.client_env import LOCAL_KEY
from stillmotion.edge.connect_proxy import Outside, Ports
from stillmotion.edge.fal_hosts import CERTIFICATE_NAMES, is_fals
from stillmotion.edge.upstream import Upstream
from stillmotion.tls import LocalTls, ensure_certificate

PRELOAD = Path(__file__).with_name("route_fal.cjs")
PYTHON_PRELOAD = Path(__file__).with_name("route_fal")
"""A folder, whose ``sitecustomize`` Python loads by itself."""
_REDIRECTIONS = ("FAL_RUN_HOST", "FAL_QUEUE_RUN_HOST", "SSL_CERT_DIR")
"""Taken out: under fal's own names the clients build the URLs that the server answers, and a directory of
certificates would stand beside the file that holds ours."""
_PROXIES = ("HTTPS_PROXY", "https_proxy")


def surroundings(names: LocalTls, ports: Ports) -> dict[str, str]:
    """This process's environment, changed so that fal's names are reached through the proxy at ``ports``, and that the
    certificates of ``names`` are trusted."""
    kept = {name: value for name, value in os.environ.items() if name not in _REDIRECTIONS}
    proxy, bundle = f"http://127.0.0.1:{ports.proxy}", str(names.bundle)
    exempt = [name for name in kept.get("NO_PROXY", kept.get("no_proxy", "")).split(",") if _may_be_exempt(name)]
    unproxied = ",".join(dict.fromkeys([*exempt, "localhost", "127.0.0.1", "::1"]))
    return {
        **kept,
        "FAL_KEY": kept.get("FAL_KEY") or LOCAL_KEY,
        **dict.fromkeys(_PROXIES, proxy),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), unproxied),
        **dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), bundle),
        "NODE_EXTRA_CA_CERTS": str(_node_certificates(kept.get("NODE_EXTRA_CA_CERTS"), names)),
        "NODE_OPTIONS": f"{kept.get('NODE_OPTIONS', '')} --require {json.dumps(str(PRELOAD))}".strip(),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(PYTHON_PRELOAD), kept.get("PYTHONPATH")))),
        "STILLMOTION_EXEC_TLS_PORT": str(ports.tls),
        "STILLMOTION_EXEC_NAMES": json.dumps(CERTIFICATE_NAMES),
    }


def fal_names(folder: Path) -> LocalTls:
    """A certificate for fal's names, in ``folder``, beside the roots that the user's programs trust already."""
    return ensure_certificate(folder, names=CERTIFICATE_NAMES, roots=_own_roots())


def outside(*, offline: bool) -> Outside:
    """How programs go on to other names than fal's: as they would have, through the proxy they had."""
    inherited = next((value for name in _PROXIES if (value := os.environ.get(name))), None)
    return Outside(offline=offline, upstream=Upstream.parse(inherited) if inherited and not offline else None)


def _may_be_exempt(name: str) -> bool:
    """Not fal's names, nor a pattern that covers them: whoever exempts everything cannot be served here."""
    host = name.strip().lstrip("*.").partition(":")[0]
    return bool(host) and not is_fals(host) and not any(each.endswith(host) for each in CERTIFICATE_NAMES)


def _node_certificates(inherited: str | None, names: LocalTls) -> Path:
    """Our authority and those that were named before, in one file: Node reads one."""
    if not inherited or not Path(inherited).is_file():
        return names.ca
    merged = names.ca.with_name("node.pem")
    merged.write_bytes(Path(inherited).read_bytes().rstrip() + b"\n" + names.ca.read_bytes())
    return merged


def _own_roots() -> Path | None:
    """The roots that the user's programs trust already, whichever library they were named for."""
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if (found := os.environ.get(name)) and Path(found).is_file():
            return Path(found)
    return None
