"""Context parallelism: each device computes its part of the tokens, and all of the attention heads' part of the rest.

Tokens meet in attention alone. There Ulysses' exchange (Jacobs et al. 2023) gives each device all tokens of some heads,
and brings the result back; diffusers' attention does that once it is told. Its own plan for this transformer splits the
video alone and along the wrong axis of the split position embedding; here both modalities, the four embeddings and the
noise level of each token are split. The result is the undivided one, to rounding.
"""

from typing import Any

import torch
import torch.distributed as dist
from diffusers.models._modeling_parallel import ContextParallelConfig, ParallelConfig
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh

from stillmotion.engine.parallel.group import Group
from stillmotion.errors import EngineError

_ENTERING = {
    "hidden_states": 1,
    "audio_hidden_states": 1,
    "encoder_hidden_states": 1,
    "audio_encoder_hidden_states": 1,
    "timestep": 1,
}
"""Arguments of the transformer that have an entry per token, and the axis of the tokens."""

_POSITIONS = ("rope", "audio_rope", "cross_attn_rope", "cross_attn_audio_rope")
_SPLIT_ROPE_AXIS, _ROPE_AXIS = 2, 1
"""Tokens in (batch, heads, tokens, half) and in (batch, tokens, channels), the two forms of position embedding."""

_LEAVING = ("proj_out", "audio_proj_out")


def split_context(transformer: Any, group: Group) -> None:
    """Has ``transformer`` compute its calls together with the other processes of ``group``, for good.

    Each calls it with the same whole arguments and gets the whole result. Every modality needs at least as many tokens
    as there are processes. Raises EngineError where these cannot share the attention's heads (32) evenly.
    """
    for heads in (transformer.config.num_attention_heads, transformer.config.audio_num_attention_heads):
        if heads % group.size:
            raise EngineError(f"{heads} attention heads cannot be shared evenly by {group.size} devices")
    mesh = init_device_mesh(group.device.type, (1, group.size), mesh_dim_names=("ring", "ulysses"))
    # Tokens need not be a multiple of the number of devices: a keyframe, and sound of any length.
    config = ContextParallelConfig(ulysses_degree=group.size, ulysses_anything=True)
    parallel = ParallelConfig(context_parallel_config=config)
    parallel.setup(group.rank, group.size, group.device, mesh=mesh)
    for module in transformer.modules():
        if hasattr(getattr(module, "processor", None), "_parallel_config"):
            module.processor._parallel_config = parallel
    transformer.register_forward_pre_hook(_Enter(group), with_kwargs=True)
    for name in _POSITIONS:
        getattr(transformer, name).register_forward_hook(_Position(group))
    for name in _LEAVING:
        getattr(transformer, name).register_forward_hook(_Leave(group))


class _Enter:
    def __init__(self, group: Group) -> None:
        self._group = group

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            raise TypeError("a split transformer takes its arguments by name")
        return args, kwargs | {name: _mine(kwargs[name], axis, self._group) for name, axis in _ENTERING.items()}


class _Position:
    def __init__(self, group: Group) -> None:
        self._group = group

    def __call__(self, module: nn.Module, args: Any, output: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        axis = _SPLIT_ROPE_AXIS if output[0].dim() == 4 else _ROPE_AXIS
        return tuple(_mine(part, axis, self._group) for part in output)


class _Leave:
    def __init__(self, group: Group) -> None:
        self._group = group

    def __call__(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        return _whole(output, self._group)


def _mine(tensor: Tensor, axis: int, group: Group) -> Tensor:
    """This process's part; earlier processes have one entry more where the number does not divide."""
    if tensor.shape[axis] < group.size:
        raise ValueError(f"{tensor.shape[axis]} tokens cannot be split among {group.size} devices")
    return tensor.tensor_split(group.size, dim=axis)[group.rank]


def _whole(part: Tensor, group: Group) -> Tensor:
    """(batch, tokens, channels) of all processes, in their order."""
    sizes = torch.tensor([part.shape[1]], device=part.device)
    every = [torch.empty_like(sizes) for _ in range(group.size)]
    dist.all_gather(every, sizes)
    lengths = [int(size) for size in every]
    # Gathering needs parts of one length: the shorter ones are padded by their one missing entry.
    padded = nn.functional.pad(part, (0, 0, 0, max(lengths) - part.shape[1])).contiguous()
    parts = [torch.empty_like(padded) for _ in range(group.size)]
    dist.all_gather(parts, padded)
    return torch.cat([part[:, :length] for part, length in zip(parts, lengths, strict=True)], dim=1)
