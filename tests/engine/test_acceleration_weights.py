"""Weights in 8 bits, compiled blocks, and other attention kernels."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import AUDIO, GRID, NEGATIVE, PROMPT, VIDEO, embed
from torch import Tensor, nn

from stillmotion.engine import conditioning
from stillmotion.engine.attention import use_attention
from stillmotion.engine.compilation import compile_blocks, is_compiled
from stillmotion.engine.components import Components
from stillmotion.engine.denoise import Denoiser
from stillmotion.engine.float8 import FORMAT, Float8Linear, cast_to_float8
from stillmotion.engine.noise import gaussian
from stillmotion.engine.sampler import State
from stillmotion.errors import EngineError

CPU = torch.device("cpu")
SIGMAS = (0.9, 0.5)


@pytest.fixture
def transformer(components: Components) -> Any:
    """One of this test's own."""
    return copy.deepcopy(components.transformer)


def steps(components: Components, transformer: Any, *, stg_block: int = 1) -> list[State]:
    """Two steps with all four passes and a start image."""
    channels = transformer.config.in_channels
    held = conditioning.free(GRID.video_coords(transformer, CPU), channels)
    held = held.with_start(torch.ones(1, GRID.rows * GRID.columns, channels), 0.5)
    network = Denoiser(
        transformer,
        GRID,
        held,
        embed(components, PROMPT),
        embed(components, NEGATIVE),
        video=VIDEO,
        audio=AUDIO,
        stg_block=stg_block,
        mode="sequential",
    )
    state = State(
        gaussian(1, "video", (1, GRID.tokens, channels), CPU),
        gaussian(1, "audio", (1, GRID.audio_frames, transformer.config.audio_in_channels), CPU),
    )
    with torch.no_grad():
        return [network(state, sigma) for sigma in SIGMAS]


def apart(left: list[State], right: list[State]) -> float:
    """Largest difference, relative to the largest value of its modality."""
    pairs = [(one.video, other.video) for one, other in zip(left, right, strict=True)]
    pairs += [(one.audio, other.audio) for one, other in zip(left, right, strict=True)]
    return max(float((one - other).abs().max() / other.abs().max()) for one, other in pairs)


weights = st.integers(0, 1000).map(lambda seed: torch.randn(6, 40, generator=torch.Generator().manual_seed(seed)))


@settings(deadline=None)
@given(weight=weights, exponents=st.lists(st.integers(-20, 20), min_size=6, max_size=6))
def test_a_weight_in_8_bits_is_within_a_sixteenth(weight: Tensor, exponents: list[int]) -> None:
    rows = weight * torch.tensor([2.0**exponent for exponent in exponents])[:, None]
    linear = nn.Linear(40, 6)
    linear.weight = nn.Parameter(rows, requires_grad=False)
    cast = Float8Linear.of(linear)
    assert cast.weight.dtype == FORMAT
    stored = cast.weight.float() * cast.scale
    assert bool(((stored - rows).abs() <= rows.abs() / 16 + cast.scale * 2.0**-10).all())
    inputs = torch.randn(3, 40, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(cast(inputs), nn.functional.linear(inputs, stored, linear.bias))


@pytest.mark.parametrize("value", [0.0, 2.0**-130, 448.0, 8e37])
def test_extreme_rows_stay_finite(value: float) -> None:
    linear = nn.Linear(4, 1, bias=False)
    linear.weight = nn.Parameter(torch.full((1, 4), value), requires_grad=False)
    stored = Float8Linear.of(linear)(torch.ones(1, 4))
    assert float(stored) == pytest.approx(4 * value, rel=1 / 16, abs=1e-30)


def test_a_weight_that_is_not_finite_is_refused() -> None:
    linear = nn.Linear(4, 1)
    linear.weight = nn.Parameter(torch.tensor([[1.0, float("nan"), 0, 0]]), requires_grad=False)
    with pytest.raises(ValueError, match="not finite"):
        Float8Linear.of(linear)


def test_which_layers_are_cast(transformer: Any) -> None:
    before = {name for name, module in transformer.named_modules() if isinstance(module, nn.Linear)}
    cast_to_float8(transformer)
    layers = {name: module for name, module in transformer.named_modules() if isinstance(module, nn.Linear)}
    assert layers.keys() == before
    cast = {name for name, module in layers.items() if isinstance(module, Float8Linear)}
    # Of three blocks the middle one, but for its gates.
    assert cast == {name for name in before if ".1." in name[:22] and not name.endswith("to_gate_logits")}
    assert len(cast) >= 28
    assert "transformer_blocks.1.ff.net.0.proj" in cast


def test_the_memory_of_cast_layers_halves(components: Components, transformer: Any) -> None:
    transformer = transformer.to(torch.bfloat16)
    sixteen = {
        name: module.weight.nbytes for name, module in transformer.named_modules() if isinstance(module, nn.Linear)
    }
    cast_to_float8(transformer)
    for name, module in transformer.named_modules():
        if isinstance(module, Float8Linear):
            assert 2 * module.weight.nbytes == sixteen[name]
            assert module.scale.nbytes == 4 * module.out_features
    assert transformer.dtype == torch.bfloat16


def test_the_result_in_8_bits_is_near(components: Components, transformer: Any) -> None:
    exact = steps(components, transformer)
    cast_to_float8(transformer)
    assert 1e-4 < apart(steps(components, transformer), exact) < 0.15


def test_what_was_merged_is_what_is_cast(transformer: Any) -> None:
    layer = transformer.transformer_blocks[1].attn1.to_q
    merged = layer.weight + torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(0))
    layer.weight.data = merged
    cast_to_float8(transformer)
    cast = transformer.transformer_blocks[1].attn1.to_q
    torch.testing.assert_close(cast.weight.float() * cast.scale, merged, rtol=1 / 16, atol=1e-2)
    cast.store(2 * merged)
    torch.testing.assert_close(cast.weight.float() * cast.scale, 2 * merged, rtol=1 / 16, atol=1e-2)


def test_compiled_blocks_give_the_same(components: Components, transformer: Any) -> None:
    """With the graphs' capture, autograd and decompositions, but without generated code, which takes minutes here."""
    exact = steps(components, transformer)
    assert not is_compiled(transformer)
    compile_blocks(transformer, stg_block=1, backend="aot_eager")
    assert is_compiled(transformer)
    assert apart(steps(components, transformer), exact) <= 1e-5
    assert apart(steps(components, transformer), exact) <= 1e-5


def test_blocks_share_their_graphs(components: Components, transformer: Any) -> None:
    graphs: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    compile_blocks(transformer, stg_block=1, backend=backend)  # type: ignore[arg-type]
    steps(components, transformer)
    # With and without the other modality; two blocks, two steps and four passes add none.
    assert len(graphs) == 2


@pytest.mark.parametrize("attention", ["auto", "sdpa"])
def test_torchs_own_attention_is_the_default(components: Components, transformer: Any, attention: Any) -> None:
    exact = steps(components, transformer)
    use_attention(transformer, attention, CPU)
    assert apart(steps(components, transformer), exact) == 0
    processors = {
        module.processor._attention_backend for module in transformer.modules() if hasattr(module, "processor")
    }
    assert processors == {"native"}


@pytest.mark.parametrize("attention", ["cudnn", "flash", "flash_3", "sage"])
def test_kernels_of_a_gpu_are_refused_without_one(transformer: Any, attention: Any) -> None:
    with pytest.raises(EngineError, match=f"{attention}' needs a CUDA device of compute capability"):
        use_attention(transformer, attention, CPU)


def test_an_unknown_attention_is_refused(transformer: Any) -> None:
    with pytest.raises(EngineError, match="attention must be one of auto, sdpa, cudnn, flash, flash_3, sage, not 'x'"):
        use_attention(transformer, "x", CPU)  # type: ignore[arg-type]
