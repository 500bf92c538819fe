"""How weights get from the host to a device: the one part of residency that differs between kinds of devices."""

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor

Pairs = Iterable[tuple[Tensor, Tensor]]
"""Of a tensor on the device and the one on the host that it is to equal."""


class Mark(Protocol):
    """A point in what a device was given to do."""


class Lane(Protocol):
    """A way from the host to ``device``. What is sent may still be on its way when ``send`` returns."""

    device: torch.device

    def home(self, tensor: Tensor) -> Tensor:
        """A copy on the host, from where sending is fast, of what is on the device."""
        ...

    def prepared(self, tensor: Tensor) -> Tensor:
        """What is on the host already, so that sending it is fast."""
        ...

    def send(self, pairs: Pairs, after: Mark | None) -> Mark | None:
        """Copies, beside what is computed, but not before ``after``; returns when it is done."""
        ...

    def wait(self, mark: Mark | None) -> None:
        """What is computed from now on comes after ``mark``."""
        ...

    def mark(self) -> Mark | None:
        """After all that was given to compute so far."""
        ...

    def settle(self) -> None:
        """Waits until all is done, so that memory on either side may be written."""
        ...

    def trim(self) -> None:
        """Gives memory that nobody uses back to the device, where networks of other shapes want it."""
        ...


class ImmediateLane:
    """Copies at once: for the CPU, whose own memory serves as the device's, and for MPS, which shares it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def home(self, tensor: Tensor) -> Tensor:
        return tensor.to("cpu", copy=True)

    def prepared(self, tensor: Tensor) -> Tensor:
        return tensor

    def send(self, pairs: Pairs, after: Mark | None) -> None:
        for there, here in pairs:
            there.copy_(here)

    def wait(self, mark: Mark | None) -> None:
        pass

    def mark(self) -> None:
        return None

    def settle(self) -> None:
        pass

    def trim(self) -> None:
        pass


class CudaLane:
    """Copies from pinned memory on a stream of its own, while the device computes."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's own gap

    def home(self, tensor: Tensor) -> Tensor:
        return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor)

    def prepared(self, tensor: Tensor) -> Tensor:
        return tensor if tensor.is_pinned() else self.home(tensor)

    def send(self, pairs: Pairs, after: Mark | None) -> Mark:
        if isinstance(after, torch.cuda.Event):
            self._stream.wait_event(after)
        with torch.cuda.stream(self._stream):
            for there, here in pairs:
                there.copy_(here, non_blocking=True)
            return self._recorded(self._stream)

    def wait(self, mark: Mark | None) -> None:
        if isinstance(mark, torch.cuda.Event):
            torch.cuda.current_stream(self.device).wait_event(mark)

    def mark(self) -> Mark:
        return self._recorded(torch.cuda.current_stream(self.device))

    def settle(self) -> None:
        torch.cuda.synchronize(self.device)

    def trim(self) -> None:
        torch.cuda.empty_cache()

    @staticmethod
    def _recorded(stream: torch.cuda.Stream) -> torch.cuda.Event:
        event: torch.cuda.Event = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch's own gap
        event.record(stream)
        return event


def lane_to(device: torch.device) -> Lane:
    return CudaLane(device) if device.type == "cuda" else ImmediateLane(device)
