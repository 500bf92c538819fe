"""Which kernels compute attention."""

from typing import Any, Literal, NamedTuple, get_args

import torch
from diffusers.models.attention_dispatch import attention_backend

from stillmotion.errors import EngineError

Attention = Literal["auto", "sdpa", "cudnn", "flash", "flash_3", "sage"]
"""``sdpa``: torch's own choice. ``cudnn``: torch with cuDNN's kernel. ``flash``: the flash-attn package. ``flash_3``:
its build for Hopper. ``sage``: the sageattention package, 8-bit and inexact. ``auto`` is ``sdpa``, the one that was
seen to work."""


class _Backend(NamedTuple):
    name: str
    """In diffusers."""
    capability: tuple[int, int] | None
    """Least CUDA compute capability; ``None``: any device."""


_BACKENDS: dict[Attention, _Backend] = {
    "auto": _Backend("native", None),
    "sdpa": _Backend("native", None),
    "cudnn": _Backend("_native_cudnn", (8, 0)),
    "flash": _Backend("flash", (8, 0)),
    "flash_3": _Backend("_flash_3", (9, 0)),
    "sage": _Backend("sage", (8, 0)),
}


def use_attention(transformer: Any, attention: Attention, device: torch.device) -> None:
    """Has ``transformer`` compute attention by ``attention``. Raises EngineError where this machine cannot.

    ``sage`` serves the video's attention to itself alone, nearly all of the work: the sound, the text and what the
    modalities see of each other stay exact. No other network of the process is touched.
    """
    if attention not in _BACKENDS:
        raise EngineError(f"attention must be one of {', '.join(get_args(Attention))}, not {attention!r}")
    backend = _BACKENDS[attention]
    _check_device(attention, backend, transformer.dtype, device)
    try:
        with attention_backend(backend.name):  # asks for the package; the default of other networks comes back
            pass
    except (RuntimeError, ImportError, ValueError) as error:
        raise EngineError(f"attention {attention!r} is not to be had here: {error}") from error
    for block in transformer.transformer_blocks:
        for name, module in block.named_children():
            if hasattr(module, "set_attention_backend"):
                exact = attention == "sage" and name != "attn1"
                module.set_attention_backend("native" if exact else backend.name)


def _check_device(attention: Attention, backend: _Backend, dtype: torch.dtype, device: torch.device) -> None:
    if backend.capability is None:
        return
    least = ".".join(map(str, backend.capability))
    if device.type != "cuda":
        raise EngineError(f"attention {attention!r} needs a CUDA device of compute capability {least}, not {device}")
    if torch.cuda.get_device_capability(device) < backend.capability:
        raise EngineError(f"attention {attention!r} needs compute capability {least} or more")
    if dtype not in (torch.bfloat16, torch.float16):
        raise EngineError(f"attention {attention!r} computes in 16 bits, not in {dtype}")
