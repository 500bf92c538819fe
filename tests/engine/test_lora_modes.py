"""Merged or beside the weights, in the memory that there is: the same result."""

import dataclasses
import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import parity
import pytest
import torch
from lora_files import linear_layers, random_changes
from lora_networks import (
    Networks,
    Twin,
    copied,
    equal,
    extra_bytes,
    layers_like,
    outputs,
    random_selection,
    touched_bytes,
    weights,
    write_four,
)

from stillmotion.engine.components import Components
from stillmotion.engine.lora.adapters import Adapters, Mode
from stillmotion.errors import EngineError
from stillmotion.job import Family

BOTH = pytest.mark.parametrize("networks_family", ["ltx-2", "ltx-2.3"])


@pytest.fixture
def networks_family() -> Family:
    """For the tests that do not ask for both."""
    return "ltx-2.3"


@pytest.fixture
def networks(networks_family: Family, loaded: Mapping[Family, Components]) -> Networks:
    return copied(loaded[networks_family])


@pytest.fixture
def files(networks: Networks, tmp_path: Path) -> list[Path]:
    return write_four(networks, tmp_path)


PLENTY = 2**40


@BOTH
@pytest.mark.parametrize("keep_bytes", [0, PLENTY])
def test_unmerged_layers_compute_what_merged_ones_do(networks: Networks, files: list[Path], keep_bytes: int) -> None:
    selection = [(files[1], 0.5), (files[2], -1.0), (files[3], 0.3)]
    merged = Twin(networks).with_loras(selection)
    pristine, before = weights(networks), outputs(networks)
    adapters = Adapters(**networks, mode="unmerged", keep_bytes=keep_bytes)
    report = adapters.use(selection)
    assert (report.mode, report.written, report.layers) == ("unmerged", 0, len(pristine))
    expected, got = outputs(merged), outputs(networks)
    for key, output in expected.items():
        torch.testing.assert_close(got[key], output, rtol=1e-5, atol=1e-5)
        assert (output - before[key]).abs().max() > 1e-2
    assert equal(weights(networks), pristine)
    adapters.use([])
    assert equal(outputs(networks), before)


@BOTH
def test_a_video_is_the_same_merged_and_unmerged(
    loaded: Mapping[Family, Components],
    networks_family: Family,
    networks: Networks,
    files: list[Path],
    picture: npt.NDArray[np.uint8],
) -> None:
    changed = dataclasses.replace(loaded[networks_family], **networks)
    case = parity.Case(start=None, end=None)
    plain = parity.ours(changed, picture, case)
    latents = []
    for mode in ("merged", "unmerged"):
        adapters = Adapters(**networks, mode=mode)
        adapters.use([(files[1], 0.3), (files[2], 0.2)])
        latents.append(parity.ours(changed, picture, case))
        adapters.use([])
    assert max(parity.difference(*latents)) < 1e-5
    assert max(parity.difference(latents[0], plain)) > 1e-2
    assert parity.difference(parity.ours(changed, picture, case), plain) == [0, 0]


def test_weights_in_eight_bits_are_left_alone(networks: Networks, files: list[Path]) -> None:
    transformer = networks["transformer"]
    transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    layer = transformer.transformer_blocks[0].attn1.to_q
    states = torch.randn(2, 3, layer.in_features)
    with torch.inference_mode():
        before = layer(states)
        report = Adapters(**networks).use([(files[0], 0.5)])
        after = layer(states)
    assert report.mode == "unmerged"
    with pytest.raises(EngineError, match="cannot be merged into weights of 8 bits"):
        Adapters(**networks, mode="merged").use([(files[0], 0.5)])
    assert layer.weight.dtype == torch.float8_e4m3fn
    key = ("transformer", "transformer_blocks.0.attn1.to_q")
    change = random_changes(
        linear_layers(networks), layers_like(networks, "transformer.", ".attn1."), seed=0, dtype=torch.bfloat16
    )
    added = states.double() @ change[key].added(0.5).T
    torch.testing.assert_close((after - before).double(), added, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("keep", "host", "expected"),
    [
        (0, None, "merged"),
        (0, 1, "merged"),
        (0, 0.99, "unmerged"),
        (0.99, 0, "unmerged"),
        (1, 0, "merged"),
        (100, 0, "merged"),
    ],
)
def test_the_mode_follows_the_memory(
    networks: Networks, files: list[Path], keep: float, host: float | None, expected: Mode
) -> None:
    size = touched_bytes(networks)
    limit = None if host is None else int(host * size)
    adapters = Adapters(**networks, keep_bytes=int(keep * size), host_bytes=limit)
    twin = Twin(networks)
    for selection in ([(files[2], 0.2)], [(files[2], 0.5)], [(files[0], 1.0), (files[2], 0.5)]):
        assert adapters.use(selection).mode == expected
        if expected == "merged":
            assert equal(weights(networks), weights(twin.with_loras(selection)))
            assert extra_bytes(adapters, networks) <= int(keep * size) + (size if limit is None else limit)
    # What touches little can be merged all the same; what was beside the weights is gone then.
    small = [(files[3], 0.4)]
    adapters.use(small)
    torch.testing.assert_close(outputs(networks), outputs(twin.with_loras(small)), rtol=1e-5, atol=1e-5)
    adapters.use([])
    assert equal(outputs(networks), outputs(twin.with_loras([])))


@pytest.mark.parametrize(("keep", "host"), [(0, 0.5), (0.5, 0.5), (1, 0.4), (2.2, 0.1), (0.2, 0)])
def test_memory_stays_within_both_budgets(networks: Networks, files: list[Path], keep: float, host: float) -> None:
    size, draw, twin, modes = touched_bytes(networks), random.Random(str((keep, host))), Twin(networks), set()
    budget = int(keep * size) + int(host * size)
    adapters = Adapters(**networks, keep_bytes=int(keep * size), host_bytes=int(host * size))
    for _ in range(12):
        selection = random_selection(files, draw)
        mode = adapters.use(selection).mode
        modes.add(mode)
        if draw.random() < 0.3:
            adapters.release()
        if mode == "merged":
            assert extra_bytes(adapters, networks) <= budget
            assert equal(weights(networks), weights(twin.with_loras(selection)))
        else:
            torch.testing.assert_close(outputs(networks), outputs(twin.with_loras(selection)), rtol=1e-5, atol=1e-5)
    assert modes == ({"merged"} if keep >= 1 else {"merged", "unmerged"})
