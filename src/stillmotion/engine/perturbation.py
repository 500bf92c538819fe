"""The perturbed pass of spatio-temporal guidance, and the work it shares with the conditional one.

The perturbation touches the self-attention of one block, so all blocks before it compute what the conditional pass
computed: 28 of 48 in LTX-2.3. ``recorded`` keeps what the block was given there and ``resumed`` starts from it, which
leaves 20 / 48 of a pass, bit for bit the same.

Everything here lasts as long as its ``with`` block and works on the modules' inputs, not on their ``forward``, which
offloading and compilation replace.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_STREAMS = ("hidden_states", "audio_hidden_states")


@contextmanager
def perturbed(block: Any, *, video: bool, audio: bool) -> Iterator[None]:
    """Has the last sample of a batch skip the self-attention of ``block``: its output is its value projection.

    Of each modality by itself, where diffusers' own argument perturbs both. Needs a transformer that was loaded with
    ``perturbed_attn=True``.
    """
    with ExitStack() as hooks:
        for attention, wanted in ((block.attn1, video), (block.audio_attn1, audio)):
            if wanted:
                hooks.enter_context(_input_hook(attention, _perturb_last))
        yield


@contextmanager
def recorded(block: Any) -> Iterator[dict[str, Tensor]]:
    """The states of both modalities that ``block`` is given, filled in when it runs."""
    states: dict[str, Tensor] = {}

    def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        states.update({name: kwargs[name] for name in _STREAMS})

    with _input_hook(block, record):
        yield states


@contextmanager
def resumed(transformer: Any, index: int, states: dict[str, Tensor]) -> Iterator[None]:
    """Has ``transformer`` begin at block ``index`` with the ``states`` that were recorded there."""

    def replace(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return args, kwargs | states

    blocks = transformer.transformer_blocks
    transformer.transformer_blocks = blocks[index:]
    try:
        with _input_hook(blocks[index], replace):
            yield
    finally:
        transformer.transformer_blocks = blocks


def _perturb_last(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    states = kwargs["hidden_states"]
    if len(states) == 1:  # nothing to mix: no attention is computed at all
        return args, kwargs | {"perturbation_mask": None, "all_perturbed": True}
    mask = torch.ones(len(states), 1, 1, device=states.device, dtype=states.dtype)
    mask[-1] = 0
    return args, kwargs | {"perturbation_mask": mask, "all_perturbed": False}


@contextmanager
def _input_hook(module: nn.Module, hook: Any) -> Iterator[None]:
    handle = module.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
