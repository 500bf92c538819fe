"""The networks of an engine in its machine's memory: what is where while a job's phases go by, and LoRAs among that."""

import sys
from collections.abc import Sequence
from typing import Any

from torch import nn

from stillmotion.engine.budget import Budget
from stillmotion.engine.compilation import is_compiled
from stillmotion.engine.components import Components
from stillmotion.engine.footprint import upsampler_name
from stillmotion.engine.lora.adapters import Adapters, Report, Selection
from stillmotion.engine.memory_plan import Phase, Plan
from stillmotion.engine.parallel.group import Group
from stillmotion.engine.residency.lanes import lane_to
from stillmotion.engine.residency.networks import Residency
from stillmotion.job import Job


class Occupancy:
    """Brings each phase's networks to the device, as ``plan``, the one made at the start, says.

    ``components``: on their device where the plan is ``resident``, else on the host. LoRAs are put on where weights are
    at home: on the device as long as the transformer never had to leave it, else on the host, whose weights then come
    to the device as they are. The sums are the same at every level.
    """

    def __init__(
        self, components: Components, budget: Budget, plan: Plan, *, native: bool, group: Group | None
    ) -> None:
        self._budget, self._group, self._whole = budget, group, plan.footprint.size
        cuda = components.device.type == "cuda"
        # A second set of merged weights beside the first; where there is none, every set is written over the last.
        self._kept_sets = plan.spare if native and cuda else 0
        transformer = components.transformer
        self.adapters = Adapters(
            transformer,
            components.connectors,
            keep_bytes=self._kept_sets,
            host_bytes=_host_for_loras(budget, native=native),
            device=components.device if cuda else None,
        )
        strict = budget.memory if budget.memory in ("swapped", "streamed") else None
        self._residency = Residency(
            networks_of(components),
            lane_to(components.device),
            room=sys.maxsize if budget.memory == "resident" else budget.room.device,
            stacks={} if is_compiled(transformer) else stacks_of(components),
            strict=strict is not None,
            streamed=strict == "streamed",
            native=native,
        )

    @property
    def held(self) -> dict[str, int]:
        """Bytes of each network that is on the device, wholly or in part."""
        return self._residency.held

    def plan(self, job: Job) -> Plan:
        """How ``job`` is made to fit; the same for all processes that compute together. Raises OutOfMemory."""
        if self._group is not None:  # not when the engine is loaded: the others may load theirs much later
            self._budget, self._group = self._budget.agreed(self._group), None
        return self._budget.plan_job(job)

    def bring(self, plan: Plan, phase: str) -> None:
        """Has the networks of ``phase`` on the device, and room for its work."""
        self._bring(plan.phase(phase))

    def bring_previewed(self, plan: Plan, stage: int) -> bool:
        """As ``bring`` for the denoising of ``stage``, with the VAE beside it where there is room: whether there is."""
        previewed = plan.previewed(stage)
        self._bring(previewed or plan.phase(f"denoise {stage + 1}"))
        return previewed is not None

    def _bring(self, wanted: Phase) -> None:
        beside = wanted.activations + self._kept_sets
        if self._kept_sets and self._whole + beside > self._budget.room.device:
            # Sets of merged weights make room first: to merge again takes less than to bring networks back.
            if self._residency.is_native("transformer") and self._residency.is_native("connectors"):
                self.adapters.release()
            beside = wanted.activations
        self._residency.bring(*wanted.networks, beside=beside)

    def put_on(self, selection: Selection) -> Report:
        """Exactly these LoRAs; raises what ``Adapters.use`` raises."""
        if self.adapters.identify(selection).key != self.adapters.key:
            self._residency.at_home("transformer", "connectors")
        return self.adapters.use(selection)


def networks_of(components: Components) -> dict[str, Any]:
    """As a footprint names them."""
    return {
        "transformer": components.transformer,
        "vae": components.vae,
        "audio_vae": components.audio_vae,
        "vocoder": components.vocoder,
        "connectors": components.connectors,
        "text_encoder": components.text_encoder,
        **{upsampler_name(kind): network for kind, network in components.upsamplers.items()},
    }


def stacks_of(components: Components) -> dict[str, Sequence[nn.Module]]:
    """The blocks of those networks that can come block by block."""
    return {
        "transformer": components.transformer.transformer_blocks,
        "text_encoder": components.text_encoder.model.language_model.layers,
    }


def _host_for_loras(budget: Budget, *, native: bool) -> int | None:
    """Bytes for pristine weights; ``None``: any. Where networks live on the host, these come on top of them."""
    host = budget.room.host
    if host is None or native:
        return host
    return max(0, host - budget.footprint.size)
