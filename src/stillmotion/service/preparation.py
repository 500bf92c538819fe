"""From a claimed request to the work that an engine is given: files brought, prompt rewritten, plan made."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from stillmotion.endpoints.bounds import Bounds
from stillmotion.endpoints.endpoint import Endpoint
from stillmotion.endpoints.prices import Price
from stillmotion.errors import InputError
from stillmotion.job import Job, Model, Preview, Work
from stillmotion.media.image import ImageLimits
from stillmotion.media.sandbox import normalise
from stillmotion.service.expansion import Prompts, expand_for
from stillmotion.service.faults import place
from stillmotion.service.file_settings import made_with
from stillmotion.service.safety import SafetyPolicy
from stillmotion.store.records import Charge, Claim

Tell = Callable[..., None]
"""``tell(message, level="INFO")``: a line of the request's log."""


class Inputs(Protocol):
    async def bring(self, url: str, target: Path, tenant: str) -> None:
        """Puts the file that ``url`` names, and that ``tenant`` may read, at ``target``; raises InputError."""
        ...


class Loras(Protocol):
    async def bring(self, source: str, folder: Path) -> Path:
        """The safetensors file that ``source`` names, there until ``folder`` is deleted; raises InputError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """How requests are prepared; the same for all of a server."""

    inputs: Inputs
    loras: Loras
    safety: SafetyPolicy = field(default_factory=SafetyPolicy)
    prompts: Prompts = "auto"
    bounds: Bounds = field(default_factory=Bounds)
    images: ImageLimits = field(default_factory=ImageLimits)
    embed_settings: bool = True
    """Whether a file says how it was made."""
    decoding: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    """Images decoded at once: one of 64 megapixels takes up to 1.2 GB."""
    preview_seconds: float = 1.0
    """Least time between two preview pictures of one request."""

    async def prepare(self, claim: Claim, endpoint: Endpoint, model: Model, folder: Path, tell: Tell) -> "Prepared":
        """What ``claim`` asks ``model`` for, its files in ``folder``, which is its own. Raises InputError."""
        raw = json.loads(claim.input)
        if unknown := endpoint.unknown(raw):
            tell(f"unknown fields are ignored: {', '.join(sorted(unknown))}", "WARN")
        request = endpoint.parse(raw, self.bounds)
        self.safety.admit(request, id=claim.fence.id)
        images, sizes = await self._bring_images(endpoint.images(request), folder, claim.tenant)
        loras = await self._bring_loras(endpoint.loras(request, model), folder)
        plan = endpoint.plan(request, sizes, _seed(request, claim), model)
        job = self.safety.demanded(plan.job, request)
        for note in plan.notes:
            tell(note)
        if model.demonstration:
            tell(f"model {model.name} is a demonstration: it shows how everything works, not what LTX-2 can do", "WARN")
        settings = made_with(endpoint, raw, job) if self.embed_settings else None
        charge = _charge(endpoint.price(request, job))
        job, expansion = await expand_for(job, images, self.prompts)
        if expansion is not None:
            tell(expansion.note, expansion.level)
            self.safety.admit_prompt(job, given=request.prompt, id=claim.fence.id)
        ephemeral = bool(getattr(request, "sync_mode", False))
        work = Work(
            id=folder.name,
            job=job,
            encoding=replace(plan.encoding, settings=settings),
            images=images,
            output=str(folder / f"output.{plan.encoding.container}"),
            loras=loras,
            # Not of what is for one reader, or for no history.
            poster=None if ephemeral or claim.private else str(folder / "poster.webp"),
            preview=Preview(path=str(folder / "preview.jpg"), seconds=self.preview_seconds) if claim.preview else None,
        )
        return Prepared(work=work, charge=charge, raw=raw, ephemeral=ephemeral)

    async def _bring_images(
        self, urls: Mapping[str, str], folder: Path, tenant: str
    ) -> tuple[dict[str, str], dict[str, tuple[int, int]]]:
        images, sizes = {}, {}
        for name, url in urls.items():
            fetched, upright = folder / f"{name}.fetched", folder / f"{name}.png"
            try:
                await self.inputs.bring(url, fetched, tenant)
                async with self.decoding:
                    info = await normalise(fetched, upright, self.images)
            except InputError as error:
                raise error.at(name, input=url) from None
            images[name], sizes[name] = str(upright), (info.width, info.height)
        return images, sizes

    async def _bring_loras(self, sources: Mapping[str, str], folder: Path) -> dict[str, str]:
        files = {}
        for name, source in sources.items():
            try:
                files[name] = str(await self.loras.bring(source, folder))
            except InputError as error:
                raise error.at(*place(name), input=source) from None
        return files


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A work, and what is to be remembered of its request."""

    work: Work
    charge: Charge | None
    raw: Mapping[str, Any]
    ephemeral: bool
    """Whether the output is for its one reader alone."""

    def finished(self, prompt: str | None) -> Job:
        """The job as it was done; ``prompt`` is the engine's, where it wrote one."""
        return self.work.job if prompt is None else replace(self.work.job, prompt=prompt)


def _charge(price: Price | None) -> Charge | None:
    """The price as it is stored; billed is a success alone."""
    if price is None:
        return None
    return Charge(quantity=price.quantity, unit=price.unit, unit_price=price.unit_price, cost=price.total)


def _seed(request: Any, claim: Claim) -> int:
    """The seed that was asked for, else 31 bits of the request's id: random, yet the same in a second attempt."""
    if (given := getattr(request, "seed", None)) is not None:
        return int(given)
    return int.from_bytes(hashlib.sha256(claim.fence.id.encode()).digest()[:4]) >> 1
