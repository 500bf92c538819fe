"""Which device each engine gets, and which models it may hold there."""

import asyncio
import sys
from collections.abc import Mapping

from stillmotion.errors import ConfigurationError

ALL = "all"
_COUNT = "import torch; print(torch.cuda.device_count())"


def parse_devices(text: str) -> dict[str, frozenset[str] | None]:
    """``cuda:0,cuda:1=NAME+NAME`` as device to the models it may hold; None: any. Raises ConfigurationError."""
    devices: dict[str, frozenset[str] | None] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        device, sign, names = (piece.strip() for piece in part.partition("="))
        models = frozenset(filter(None, (name.strip() for name in names.split("+"))))
        if not device or (sign and not models):
            raise ConfigurationError(f"device: write DEVICE or DEVICE=MODEL+MODEL, not {part!r}")
        if device in devices:
            raise ConfigurationError(f"device: {device} is named twice; an engine needs a device of its own")
        devices[device] = models if sign else None
    if not devices:
        raise ConfigurationError("device names no device")
    if ALL in devices and len(devices) > 1:
        raise ConfigurationError("device: 'all' stands alone")
    return devices


async def every_cuda_device() -> tuple[str, ...]:
    """``cuda:0``, ``cuda:1``, ... as torch sees them. Raises ConfigurationError where it sees none.

    Asked in a process of its own: torch takes seconds to import, and the platform's process never does.
    """
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", _COUNT), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    output, _ = await child.communicate()
    count = int(output) if output.strip().isdigit() else 0
    if not count:
        raise ConfigurationError("device is 'all', but torch sees no CUDA device here")
    return tuple(f"cuda:{index}" for index in range(count))


def held_by(device: str, allowed: frozenset[str] | None, bundles: Mapping[str, object]) -> tuple[str, ...]:
    """Names of the ``bundles`` that the engine on ``device`` may load. Raises ConfigurationError."""
    if allowed is None:
        return tuple(bundles)
    if strangers := allowed - bundles.keys():
        raise ConfigurationError(
            f"device: {device} may hold {', '.join(sorted(strangers))}, but the models in use are {', '.join(bundles)}"
        )
    return tuple(name for name in bundles if name in allowed)
