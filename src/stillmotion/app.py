"""Composition: settings become parts, parts become the platform. The one module that knows every part."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from starlette.types import ASGIApp

from stillmotion.api.application import create_api
from stillmotion.edge.body import BodyLimit, by_prefix
from stillmotion.edge.origin import OriginGuard
from stillmotion.edge.request_id import RequestId
from stillmotion.endpoints.bounds import Bounds
from stillmotion.endpoints.catalogue import CATALOGUE
from stillmotion.errors import NotFound
from stillmotion.executor.base import Executor
from stillmotion.executor.bundles import DEMONSTRATION, check_engine_installed, ensure_demonstration, find_bundle
from stillmotion.executor.mock import MockExecutor
from stillmotion.executor.process import ProcessExecutor
from stillmotion.files.addresses import AllowList
from stillmotion.files.blobs import LocalBlobs
from stillmotion.files.fetch import Fetcher
from stillmotion.files.inputs import Inputs, OwnFiles
from stillmotion.media.image import ImageLimits
from stillmotion.service.attempt import FILES_PATH, Parts, Policy
from stillmotion.service.changes import Changes
from stillmotion.service.models import ALL, Models
from stillmotion.service.runner import Runner
from stillmotion.service.service import Service
from stillmotion.settings import Settings
from stillmotion.store.sqlite import SqliteStore

log = structlog.get_logger()

SMALL_BODY = 1 << 20
"""Bytes that a request may send outside the model routes."""
LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A running platform, without a network."""

    settings: Settings
    service: Service
    blobs: LocalBlobs


@asynccontextmanager
async def platform(settings: Settings, *, local_paths: bool = False) -> AsyncIterator[Platform]:
    """Opens the data directory, starts the engine and the runner; stops them in the opposite order.

    ``local_paths`` lets requests name files of this machine as inputs: for the command line only. Raises
    ConfigurationError and BundleError before anything is accepted.
    """
    async with AsyncExitStack() as stack:
        store = await SqliteStore.open(settings.data / "stillmotion.db")
        stack.push_async_callback(store.close)
        log.info("store opened", **await store.durability())
        blobs = LocalBlobs(settings.data / "files")
        executor = await _executor(settings)
        stack.push_async_callback(executor.close)
        capabilities = await executor.capabilities()
        parts = Parts(
            store=store,
            executor=executor,
            inputs=Inputs(_fetcher(settings), _own_files(settings, blobs), local_paths=local_paths),
            blobs=blobs,
            models=Models(capabilities.models, _model_names(settings), CATALOGUE),
            endpoints=CATALOGUE,
            policy=_policy(settings),
        )
        changes = Changes()
        runner = Runner(parts, changes, capabilities.slots)
        stack.push_async_callback(runner.close)
        await runner.start()
        service = Service(
            parts, changes, runner, strict_submit=settings.strict_submit, min_free=settings.min_free_bytes
        )
        yield Platform(settings=settings, service=service, blobs=blobs)


def application(running: Platform) -> ASGIApp:
    """The HTTP application with its guards, outermost first: request ids, origins, body limits."""
    settings = running.settings
    largest = settings.max_body_bytes
    limits = by_prefix({"/run": largest, "/queue": largest}, min(largest, SMALL_BODY))
    guarded: ASGIApp = BodyLimit(create_api(running.service), limits)
    guarded = OriginGuard(guarded, hosts=(settings.host, *settings.allowed_hosts), origins=settings.allowed_origins)
    return RequestId(guarded)


def is_loopback(host: str) -> bool:
    return LOOPBACK.fullmatch(host) is not None


async def _executor(settings: Settings) -> Executor:
    if settings.engine == "mock":
        return MockExecutor(slots=settings.mock_slots, seconds=settings.mock_seconds)
    check_engine_installed()
    bundles: dict[str, Path] = {}
    for name in settings.model.values():
        folder = find_bundle(name, settings.models)
        bundles[folder.name] = folder
    if ALL not in settings.model:
        folder = await ensure_demonstration(settings.models)
        bundles[folder.name] = folder
    return ProcessExecutor(
        bundles=bundles,
        device=settings.device,
        dtype=settings.dtype,
        threads=settings.threads,
        cancel_grace=settings.cancel_seconds,
    )


def _model_names(settings: Settings) -> Mapping[str, str]:
    """The choice by bundle name; the mock engine has one model for everything, whatever is configured."""
    if settings.engine == "mock":
        return {}
    names = {endpoint: find_bundle(name, settings.models).name for endpoint, name in settings.model.items()}
    return {ALL: DEMONSTRATION, **names}


def _fetcher(settings: Settings) -> Fetcher:
    return Fetcher(
        AllowList.parse(settings.fetch_allow),
        max_bytes=settings.max_image_bytes,
        timeout=settings.fetch_seconds,
        ca_file=settings.fetch_ca_file,
    )


def _own_files(settings: Settings, blobs: LocalBlobs) -> OwnFiles:
    """Resolves URLs of this server's files inside the process. Names have 160 random bits, so the port is not asked."""
    hosts = {settings.host, *settings.allowed_hosts}

    def own(url: str) -> Path | None:
        try:
            parts = urlsplit(url)
            host = parts.hostname or ""
        except ValueError:
            return None
        ours = parts.scheme in ("http", "https") and (is_loopback(host) or host in hosts)
        if not ours or not parts.path.startswith(FILES_PATH):
            return None
        try:
            return blobs.path(parts.path.removeprefix(FILES_PATH))
        except NotFound:
            return None

    return own


def _policy(settings: Settings) -> Policy:
    return Policy(
        lease=settings.lease_seconds,
        heartbeat=settings.heartbeat_seconds,
        deadline=settings.generation_seconds,
        max_attempts=settings.max_attempts,
        sync_mode=settings.sync_mode_seconds,
        embed_settings=settings.embed_settings,
        # Every bound is a setting of the same name.
        bounds=Bounds(**{field.name: getattr(settings, field.name) for field in fields(Bounds)}),
        images=ImageLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels),
    )
