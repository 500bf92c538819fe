"""The device that numbers belong to, and its memory."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import diffusers
import torch
import transformers

from bench.machine import cores, processor
from stillmotion.errors import EngineError


def describe(device: torch.device) -> dict[str, str]:
    """What makes numbers of two runs comparable."""
    found = {"device": f"{processor()}, {cores()} cores"}
    if device.type == "cuda":
        facts = torch.cuda.get_device_properties(device)
        found = {
            "device": f"{facts.name}, {facts.total_memory / 1e9:.0f} GB",
            "driver": _driver(),
            "CUDA": f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}",
        }
    libraries = {"torch": torch, "diffusers": diffusers, "transformers": transformers}
    return found | {name: str(library.__version__) for name, library in libraries.items()}


def _driver() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return "unknown"
    asked = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    told = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=30).stdout
    return told.splitlines()[0].strip() if told else "unknown"


@contextmanager
def limited_memory(device: torch.device, gigabytes: int | None) -> Iterator[None]:
    """Lets torch take at most so much of the device's memory for the while; ``None``: all of it.

    A card that is sold with so many gigabytes has them in powers of two. Raises EngineError where torch has no limit.
    """
    if gigabytes is None:
        yield
        return
    if device.type != "cuda":
        raise EngineError(f"the memory of {device} cannot be limited")
    torch.cuda.empty_cache()
    share = gigabytes * 2**30 / torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, share), device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
        torch.cuda.empty_cache()


def reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int | None:
    """The most that tensors took since ``reset_peak``; ``None`` where torch does not count."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
