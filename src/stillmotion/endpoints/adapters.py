"""Which LoRAs the stages of a job add to the weights, and where those come from that a bundle has not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stillmotion.endpoints import loras
from stillmotion.endpoints.vocabulary import CameraLora, LoRAInput
from stillmotion.job import Lora, Model

DISTILLED = "distilled"
"""The name under which a bundle has its distilled LoRA."""

CAMERA_FIELD = "camera_lora"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """LoRAs of one stage; ``a + b`` has those of both."""

    loras: tuple[Lora, ...] = ()
    paths: Mapping[str, str] = field(default_factory=dict)
    """Name to path, as loras.py reads it, of each LoRA that is not bundled: to be fetched before the work starts."""
    notes: tuple[str, ...] = ()

    def __add__(self, other: "Adapters") -> "Adapters":
        return Adapters(
            loras=self.loras + other.loras, paths={**self.paths, **other.paths}, notes=self.notes + other.notes
        )


def distilled(scale: float, model: Model) -> Adapters:
    """The distilled LoRA, which turns development weights into distilled ones as far as ``scale``; 0 is none."""
    if scale == 0:
        return Adapters()
    if model.distilled:
        return Adapters(notes=(f"model {model.name} is distilled: the distilled LoRA is left out",))
    if DISTILLED not in model.loras:
        return Adapters(notes=(f"model {model.name} has no distilled LoRA: its own weights are used",))
    return Adapters(loras=(Lora(name=DISTILLED, scale=scale, bundled=True),))


def camera(motion: CameraLora, scale: float, model: Model) -> Adapters:
    """The camera LoRA: the bundle's, else the published one, which a demonstration's weights could not take."""
    if motion == "none":
        return Adapters()
    if scale == 0:
        return Adapters(notes=("camera_lora_scale is 0: no camera LoRA",))
    if motion in model.loras:
        return Adapters(loras=(Lora(name=motion, scale=scale, bundled=True),))
    if model.demonstration:
        return Adapters(notes=(f"model {model.name} has no camera LoRA {motion}: it is left out",))
    path = published_camera(motion)
    lora, note = Lora(name=CAMERA_FIELD, scale=scale), f"{CAMERA_FIELD} is {path}, trained on LTX-2 19B"
    return Adapters(loras=(lora,), paths={CAMERA_FIELD: path}, notes=(note,))


def published_camera(motion: CameraLora) -> str:
    """The published file: trained on LTX-2 19B, its shapes fit LTX-2.3 22B too."""
    words = motion.split("_")
    title = "-".join(word.capitalize() for word in words)
    file = f"ltx-2-19b-lora-camera-control-{'-'.join(words)}.safetensors"
    return f"Lightricks/LTX-2-19b-LoRA-Camera-Control-{title}/{file}"


def users(field: str, given: Sequence[LoRAInput]) -> Adapters:
    """The user's own LoRAs, named ``field.N`` by their place in the request. A scale of 0 is left out, not fetched."""
    named = {f"{field}.{index}": lora for index, lora in enumerate(given) if lora.path}
    if not named:
        return Adapters(notes=(f"no LoRA: {field} is empty or names no path",))
    used = {name: lora for name, lora in named.items() if lora.scale != 0}
    return Adapters(
        loras=tuple(Lora(name=name, scale=lora.scale) for name, lora in used.items()),
        paths={name: lora.path for name, lora in used.items()},
        notes=tuple(
            f"{name} is {loras.told(lora.path)}" if name in used else f"{name} has scale 0: it is left out"
            for name, lora in named.items()
        ),
    )
