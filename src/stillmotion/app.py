"""Composition: settings become parts, parts become the platform. The one module that knows every part."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from stillmotion.api.application import create_api
from stillmotion.api.storage import storage_body_limit
from stillmotion.api.webhooks import body as webhook_body
from stillmotion.bundles.licence import licence_of
from stillmotion.edge.body import BodyLimit, by_prefix
from stillmotion.edge.cors import Cors
from stillmotion.edge.fal_hosts import FalHosts, is_fals
from stillmotion.edge.fal_proxy import FalProxy
from stillmotion.edge.origin import OriginGuard
from stillmotion.edge.request_id import RequestId
from stillmotion.endpoints.bounds import Bounds
from stillmotion.endpoints.catalogue import catalogue
from stillmotion.errors import ConfigurationError, NotFound
from stillmotion.executor.base import Executor
from stillmotion.executor.bundles import NANO, bring_bundle, check_engine_installed, find_bundle
from stillmotion.executor.devices import ALL as EVERY_DEVICE
from stillmotion.executor.devices import every_cuda_device, held_by, parse_devices
from stillmotion.executor.messages import Tuning
from stillmotion.executor.process import ProcessExecutor
from stillmotion.files.addresses import AllowList
from stillmotion.files.blobs import LocalBlobs
from stillmotion.files.fetch import Fetcher
from stillmotion.files.fixtures import Fixtures
from stillmotion.files.inputs import Inputs, OwnFiles
from stillmotion.files.lora_store import LoraStore
from stillmotion.files.loras import LoraFiles
from stillmotion.files.offline import DrawingFetcher, Fetches, FixtureFetcher, FixtureLoras
from stillmotion.files.photographs import photograph
from stillmotion.files.rotating_secrets import RotatingSecrets
from stillmotion.files.secret import keep_secret
from stillmotion.files.uploads import UploadParts
from stillmotion.hub import Hub
from stillmotion.media.image import ImageLimits
from stillmotion.safety.configuration import Checks, check_exposure, choose_checks
from stillmotion.service.about import About
from stillmotion.service.access import FileAccess
from stillmotion.service.access_tokens import AccessTokens
from stillmotion.service.attempt import Parts, Policy
from stillmotion.service.changes import Changes
from stillmotion.service.engines import Engines
from stillmotion.service.expansion import Prompts
from stillmotion.service.expiry import expiring
from stillmotion.service.keys import Keys
from stillmotion.service.models import ALL
from stillmotion.service.photographs import PATH as SAMPLES_PATH
from stillmotion.service.preparation import Preparation
from stillmotion.service.repeats import Repeats
from stillmotion.service.rules import Rules
from stillmotion.service.runner import Runner
from stillmotion.service.safety import SafetyPolicy
from stillmotion.service.service import Service
from stillmotion.service.signatures import LONGEST_SECONDS, Signatures
from stillmotion.service.signed_urls import SignedUrls
from stillmotion.service.upload_tokens import UploadTokens
from stillmotion.service.uploads import UploadPolicy, Uploads
from stillmotion.service.webhook_delivery import Deliverer
from stillmotion.service.webhook_schedule import Schedule
from stillmotion.service.webhook_sender import WebhookSender
from stillmotion.service.webhook_signing import KEYS_FILE, SigningKeys
from stillmotion.service.webhooks import Webhooks
from stillmotion.settings import Settings
from stillmotion.store.sqlite import SqliteStore

log = structlog.get_logger()

SMALL_BODY = 1 << 20
"""Bytes that a request may send outside the model routes and uploads."""
UPLOAD_RATE, UPLOAD_SECONDS = 8192.0, 6 * 3600.0
"""Slowest upload, in bytes per second, and longest time that its bytes are waited for: 2 GiB at 100 KB/s."""
LOOPBACK_NETWORKS = ("127.0.0.0/8", "::1")
LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A running platform, without a network."""

    settings: Settings
    service: Service
    uploads: Uploads
    blobs: LocalBlobs
    access: dict[str, str] = field(default_factory=dict)
    """How programs of this machine reach it, once it listens: what the playground's samples say."""


@asynccontextmanager
async def platform(settings: Settings, *, local_paths: bool = False) -> AsyncIterator[Platform]:
    """Opens the data directory, starts the engine and the runner; stops them in the opposite order.

    ``local_paths`` lets requests name files of this machine as inputs: for the command line only. Raises
    ConfigurationError and BundleError before anything is accepted.
    """
    checks = checks_of(settings)
    check_exposure(settings.safety, checks, loopback=is_loopback(settings.host))
    endpoints = catalogue(settings.endpoint_files)
    fixtures = Fixtures(settings.fixtures)
    rules = Rules(settings.rules, settings.rules_file)
    async with AsyncExitStack() as stack:
        store = await SqliteStore.open(settings.data / "stillmotion.db")
        stack.push_async_callback(store.close)
        log.info("store opened", **await store.durability())
        blobs = LocalBlobs(settings.data / "files")
        secrets = RotatingSecrets(settings.data / "access-keys.json", longest=LONGEST_SECONDS)
        access = FileAccess(store, SignedUrls(Signatures(secrets, "file")), default=settings.file_access)
        own = _own_files(settings, blobs, access)
        bundles = await _bundles(settings)
        executors = await _executors(settings, checks, bundles)
        for executor in executors.values():
            stack.push_async_callback(executor.close)
        names = {use: folder.name for use, folder in bundles.items()} if settings.engine == "process" else {}
        engines = await Engines.start(executors, names, endpoints, patience=settings.affinity_seconds)
        prompts = _prompts(settings, stack)
        loras = _loras(settings)
        stack.push_async_callback(loras.close)
        parts = Parts(
            store=store,
            blobs=blobs,
            models=engines.models,
            endpoints=endpoints,
            policy=_policy(settings),
            preparation=Preparation(
                inputs=Inputs(_images(settings, fixtures), own, local_paths=local_paths),
                loras=FixtureLoras(fixtures, loras, offline=settings.offline, max_bytes=settings.max_lora_bytes),
                safety=SafetyPolicy(mode=settings.safety, prompts=checks.prompts),
                prompts=prompts,
                # Every bound is a setting of the same name.
                bounds=Bounds(**{field.name: getattr(settings, field.name) for field in fields(Bounds)}),
                images=ImageLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels),
                embed_settings=settings.embed_settings,
                preview_seconds=settings.preview_seconds,
            ),
            rules=rules,
        )
        changes = Changes()
        runner = Runner(parts, changes, engines)
        stack.push_async_callback(runner.close)
        await runner.start()
        sender, signing_keys = webhook_sender(settings), SigningKeys(settings.data / KEYS_FILE)
        signing_keys.ensure()
        deliverer = Deliverer(
            parts, changes, sender, signing_keys, schedule=Schedule(unit=settings.webhook_seconds), render=webhook_body
        )
        stack.push_async_callback(deliverer.close)
        deliverer.start()
        repeats = Repeats(
            store, key_seconds=settings.idempotency_seconds, lost_reply_seconds=settings.lost_reply_seconds
        )
        stack.push_async_callback(repeats.close)
        await repeats.start()
        keys = Keys(store, required=not is_loopback(settings.host))
        service = Service(
            parts,
            changes,
            runner,
            Webhooks(store, changes, sender, signing_keys),
            keys,
            access,
            AccessTokens(Signatures(secrets, "token"), keys),
            repeats,
            strict_submit=settings.strict_submit,
            min_free=settings.min_free_bytes,
            about=_about(settings, bundles),
        )
        stack.push_async_callback(service.close)
        upload_parts = UploadParts(settings.data / "files" / "uploads")
        await stack.enter_async_context(expiring(store, blobs, upload_parts))
        tokens = UploadTokens(keep_secret(settings.data / "upload-tokens.key"))
        uploads = Uploads(store, blobs, upload_parts, tokens, access, _upload_policy(settings))
        yield Platform(settings=settings, service=service, uploads=uploads, blobs=blobs)


def application(running: Platform) -> ASGIApp:
    """The HTTP application with its guards, outermost first: request ids, origins, CORS, fal's names, proxy, body
    limits."""
    settings = running.settings
    api = create_api(running.service, running.uploads, lambda: running.access, settings.openai_models)
    guarded: ASGIApp = FalHosts(FalProxy(_limited(api, settings)))
    guarded = Cors(guarded)
    guarded = OriginGuard(
        guarded,
        hosts=(settings.host, *settings.allowed_hosts),
        origins=settings.allowed_origins,
        # A page of a stranger's has no key, so it gains nothing from a name of its own for this server.
        also=is_fals if is_loopback(settings.host) else lambda host: True,
    )
    return RequestId(guarded)


def _limited(api: ASGIApp, settings: Settings) -> ASGIApp:
    """Bodies below /cdn are files on their way to the disk, all others stand in memory."""
    largest = settings.max_body_bytes
    small = min(largest, SMALL_BODY)
    others = BodyLimit(api, by_prefix(dict.fromkeys(("/run", "/queue", "/openai"), largest), small))
    limit = storage_body_limit(whole=settings.max_upload_bytes, part=settings.max_upload_part_bytes, other=small)
    files = BodyLimit(api, limit, min_rate=UPLOAD_RATE, max_seconds=UPLOAD_SECONDS)

    async def limited(scope: Scope, receive: Receive, send: Send) -> None:
        is_file = scope["type"] == "http" and scope["path"].startswith("/cdn/")
        await (files if is_file else others)(scope, receive, send)

    return limited


def is_loopback(host: str) -> bool:
    return LOOPBACK.fullmatch(host) is not None


async def _bundles(settings: Settings) -> dict[str, Path]:
    """The folder of each endpoint's bundle, and of ``all``. The mock engine needs none, whatever is configured."""
    if settings.engine == "mock":
        return {use: settings.models / name for use, name in settings.model.items()}
    check_engine_installed()
    chosen = {use: await bring_bundle(name, settings.models) for use, name in settings.model.items()}
    return chosen if ALL in chosen else {**chosen, ALL: find_bundle(NANO, settings.models)}


async def _executors(settings: Settings, checks: Checks, bundles: Mapping[str, Path]) -> dict[str, Executor]:
    """An engine for each device, by the device's name."""
    if settings.engine == "mock":
        # Only here: what it draws and encodes with takes 0.1 s to import.
        from stillmotion.executor.mock import MockExecutor

        return {"mock": MockExecutor(slots=settings.mock_slots, seconds=settings.mock_seconds)}
    by_name = {folder.name: folder for folder in bundles.values()}
    devices = parse_devices(settings.device)
    if EVERY_DEVICE in devices:
        devices = dict.fromkeys(await every_cuda_device(), devices[EVERY_DEVICE])
    return {
        device: ProcessExecutor(
            bundles={name: by_name[name] for name in held_by(device, allowed, by_name)},
            device=device,
            dtype=settings.dtype,
            threads=settings.threads,
            classifier=checks.pictures,
            expansion_seconds=settings.expansion_seconds,
            parallel=settings.parallel,
            tuning=_tuning(settings, engines=len(devices)),
            cancel_grace=settings.cancel_seconds,
        )
        for device, allowed in devices.items()
    }


def _about(settings: Settings, bundles: Mapping[str, Path]) -> About:
    used = dict(bundles)
    if settings.safety_model:
        used["safety"] = settings.models / settings.safety_model
    uses: dict[str, tuple[str, ...]] = {}
    for use, folder in used.items():
        uses[folder.name] = (*uses.get(folder.name, ()), use)
    licences = {folder.name: licence_of(folder) for folder in used.values()}
    return About(
        engine=settings.engine,
        data=settings.data,
        models=settings.models,
        licences={name: licence for name, licence in licences.items() if licence},
        used_by=uses,
        min_free=settings.min_free_bytes,
        card_samples=settings.card_samples,
    )


def _tuning(settings: Settings, *, engines: int) -> Tuning:
    return Tuning(
        memory=settings.memory,
        device_memory_bytes=settings.device_memory_bytes,
        host_memory_bytes=settings.host_memory_bytes,
        engines=engines,
        weights=settings.weights,
        attention=settings.attention,
        compiled=settings.compiled,
    )


def _fetcher(settings: Settings, max_bytes: int, seconds: float) -> Fetcher:
    return Fetcher(
        AllowList.parse(settings.fetch_allow),
        max_bytes=max_bytes,
        timeout=seconds,
        ca_file=settings.fetch_ca_file,
    )


def _images(settings: Settings, fixtures: Fixtures) -> Fetches:
    if settings.offline:
        return FixtureFetcher(fixtures, DrawingFetcher(settings.max_image_bytes))
    return FixtureFetcher(fixtures, _fetcher(settings, settings.max_image_bytes, settings.fetch_seconds))


def webhook_sender(settings: Settings) -> WebhookSender:
    """What only this machine's own programs can reach may call them back; others could use it to reach what they
    cannot."""
    local = LOOPBACK_NETWORKS if is_loopback(settings.host) else ()
    allow = AllowList.parse((*settings.webhook_allow, *local))
    return WebhookSender(allow, ca_file=settings.webhook_ca_file, offline=settings.offline)


def _loras(settings: Settings) -> LoraFiles:
    return LoraFiles(
        LoraStore(settings.data / "loras", settings.lora_cache_bytes),
        _fetcher(settings, settings.max_lora_bytes, settings.lora_seconds),
        Hub(),
        local_folder=settings.lora_folder,
        max_bytes=settings.max_lora_bytes,
        timeout=settings.lora_seconds,
    )


def _own_files(settings: Settings, blobs: LocalBlobs, access: FileAccess) -> OwnFiles:
    """Resolves URLs of this server's files inside the process. Names have 160 random bits, so the port is not asked."""
    hosts = {settings.host, *settings.allowed_hosts}

    async def own(url: str, tenant: str) -> Path | None:
        try:
            parts = urlsplit(url)
            host = parts.hostname or ""
        except ValueError:
            return None
        ours = parts.scheme in ("http", "https") and (is_loopback(host) or host in hosts or is_fals(host))
        if ours and parts.path.startswith(SAMPLES_PATH):
            return photograph(parts.path.removeprefix(SAMPLES_PATH))
        try:
            return blobs.path(await access.name_for(tenant, url)) if ours else None
        except NotFound:
            return None

    return own


def _upload_policy(settings: Settings) -> UploadPolicy:
    return UploadPolicy(
        max_bytes=settings.max_upload_bytes,
        max_part_bytes=settings.max_upload_part_bytes,
        max_unfinished=settings.max_unfinished_uploads,
        min_free=settings.min_free_bytes,
        lifetime=settings.upload_seconds or None,
        unfinished=settings.unfinished_upload_seconds,
    )


def checks_of(settings: Settings) -> Checks:
    return choose_checks(
        settings.safety,
        settings.models,
        engine=settings.engine != "mock",
        model=settings.safety_model,
        labels=settings.safety_labels,
        threshold=settings.safety_threshold,
        device=settings.safety_device,
        terms=settings.safety_terms,
    )


def _prompts(settings: Settings, stack: AsyncExitStack) -> Prompts:
    if settings.expansion != "server":
        return settings.expansion
    assert settings.expansion_url is not None  # settings.py checks both
    assert settings.expansion_model is not None
    if settings.offline and not is_loopback(urlsplit(settings.expansion_url).hostname or ""):
        raise ConfigurationError(f"offline: prompts cannot be sent to {settings.expansion_url}; set expansion to off")
    # Only here: its HTTP client takes 0.2 s to import, which every start would pay.
    from stillmotion.service.prompt_server import PromptServer

    server = PromptServer(
        settings.expansion_url,
        settings.expansion_model,
        key=settings.expansion_key,
        vision=settings.expansion_vision,
        seconds=settings.expansion_seconds,
    )
    stack.push_async_callback(server.close)
    return server


def _policy(settings: Settings) -> Policy:
    return Policy(
        lease=settings.lease_seconds,
        heartbeat=settings.heartbeat_seconds,
        deadline=settings.generation_seconds,
        max_attempts=settings.max_attempts,
        sync_mode=settings.sync_mode_seconds,
    )
