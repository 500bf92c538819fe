"""LoRAs on and off: what is on is exact, what was off comes back to the bit, and sets that are held cost nothing."""

import random
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from lora_files import LAYOUTS, linear_layers, random_changes, write
from lora_networks import (
    Networks,
    Twin,
    copied,
    equal,
    extra_bytes,
    layers_like,
    pointers,
    random_selection,
    touched_bytes,
    weights,
    write_four,
)

from stillmotion.engine.components import Components
from stillmotion.engine.lora.adapters import Adapters, Mode
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


# --- on and off --------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("dtype", "share"), [(torch.float32, 0), (torch.bfloat16, 0), (torch.bfloat16, 0.4), (torch.float32, 1.5)]
)
def test_any_sequence_of_selections_is_exact_and_leaves_no_trace(
    networks: Networks, files: list[Path], dtype: torch.dtype, share: float
) -> None:
    for network in networks.values():
        network.to(dtype)
    pristine, draw = weights(networks), random.Random(str((dtype, share)))
    twin = Twin(networks)
    adapters = Adapters(**networks, keep_bytes=int(share * touched_bytes(networks)))
    for number in range(20):
        selection = random_selection(files, draw)
        adapters.use(selection)
        if number % 5 == 4:
            assert equal(weights(networks), weights(twin.with_loras(selection)))
    adapters.use([])
    assert adapters.key == ""
    assert equal(weights(networks), pristine)


def test_a_sum_of_files(networks: Networks, files: list[Path]) -> None:
    before, twin = weights(networks), Twin(networks)
    alone = [weights(twin.with_loras([(path, 0.5)])) for path in files[:3]]
    together = weights(twin.with_loras([(path, 0.5) for path in files[:3]]))
    for key, weight in before.items():
        expected = weight.double() + sum((one[key].double() - weight.double() for one in alone), torch.zeros(()))
        torch.testing.assert_close(together[key].double(), expected, rtol=1e-6, atol=1e-6)


def test_the_merged_weight_is_rounded_once(networks: Networks, tmp_path: Path) -> None:
    for network in networks.values():
        network.bfloat16()
    layers = linear_layers(networks)
    changes = [random_changes(layers, list(layers), seed=seed) for seed in (1, 2)]
    paths = [write(tmp_path / f"{index}.safetensors", LAYOUTS["official"](each)) for index, each in enumerate(changes)]
    pristine = weights(networks)
    Adapters(**networks).use([(path, 0.5) for path in paths])
    for key, weight in weights(networks).items():
        exact = pristine[key].double() + changes[0][key].added(0.5) + changes[1][key].added(0.5)
        # bf16 has 8 bits: half a unit in the last place is at most 2^-8 of a number. Sums in fp32 add a little.
        assert bool(((weight.double() - exact).abs() <= exact.abs() * 2**-8 * 1.001 + 1e-6).all())


@pytest.mark.parametrize("share", [0, 100])
@pytest.mark.parametrize("mode", ["merged", "unmerged"])
def test_inside_and_outside_inference_mode(networks: Networks, files: list[Path], mode: Mode, share: float) -> None:
    adapters = Adapters(**networks, mode=mode, keep_bytes=int(share * touched_bytes(networks)))
    pristine = weights(networks)
    for index, file in enumerate((*files, *files)):
        with torch.inference_mode() if index % 3 else nullcontext():
            adapters.use([(file, 0.5)])
    with torch.inference_mode():
        adapters.use([])
    assert equal(weights(networks), pristine)
    for layer in linear_layers(networks).values():
        assert not layer.weight.is_inference()
        layer.weight.data.add_(1)


# --- sets that are held ------------------------------------------------------------------------------------------


def test_switching_between_held_sets_moves_pointers(networks: Networks, files: list[Path]) -> None:
    adapters = Adapters(**networks, keep_bytes=2 * touched_bytes(networks))
    pristine = pointers(networks)
    first, second = [(files[2], 0.2)], [(files[2], 0.5)]
    assert adapters.use(first).written == len(pristine)
    at_first = pointers(networks)
    assert adapters.use(second).written == len(pristine)
    at_second = pointers(networks)
    assert not set(pristine.values()) & set(at_first.values())
    assert not set(at_first.values()) & set(at_second.values())
    for selection, expected in ((first, at_first), ([], pristine), (second, at_second), (first, at_first)):
        assert adapters.use(selection).written == 0
        assert pointers(networks) == expected


def test_sets_share_what_they_have_in_common(networks: Networks, files: list[Path]) -> None:
    adapters = Adapters(**networks, keep_bytes=2**40)
    adapters.use([(files[0], 1.0)])
    before = pointers(networks)
    # The feed-forward alone differs.
    written = adapters.use([(files[0], 1.0), (files[3], 1.0)]).written
    after = pointers(networks)
    assert {key for key in after if after[key] != before[key]} == set(layers_like(networks, "transformer.", ".ff."))
    assert written == sum(after[key] != before[key] for key in after)


def test_two_sets_displace_the_pristine_one_where_there_is_room_for_one(networks: Networks, files: list[Path]) -> None:
    adapters = Adapters(**networks, keep_bytes=touched_bytes(networks))
    pristine = weights(networks)
    first, second = [(files[2], 0.2)], [(files[2], 0.5)]
    for selection in (first, second):
        adapters.use(selection)
    for selection in (first, second, first):
        assert adapters.use(selection).written == 0
    assert adapters.use([]).written == len(pristine)
    assert equal(weights(networks), pristine)
    # The least recently used one made room.
    assert adapters.use(first).written == 0


def test_without_room_weights_are_written_where_they_are(networks: Networks, files: list[Path]) -> None:
    adapters, before, draw = Adapters(**networks), pointers(networks), random.Random(1)
    for _ in range(8):
        adapters.use(random_selection(files, draw))
        assert pointers(networks) == before


@pytest.mark.parametrize("share", [0, 0.3, 1, 2.5])
def test_memory_stays_within_the_budget(networks: Networks, files: list[Path], share: float) -> None:
    keep, draw = int(share * touched_bytes(networks)), random.Random(share)
    adapters = Adapters(**networks, keep_bytes=keep)
    assert extra_bytes(adapters, networks) == 0
    used = 0
    for _ in range(10):
        adapters.use(random_selection(files, draw))
        used = max(used, extra_bytes(adapters, networks))
        # On this device the host's copy of the pristine weights counts, too.
        assert used <= keep + touched_bytes(networks)
    assert used >= keep / 2
    adapters.use([(files[2], 0.7)])
    adapters.release()
    assert extra_bytes(adapters, networks) == touched_bytes(networks)


def test_networks_that_move_are_followed(networks: Networks, files: list[Path]) -> None:
    twin = Twin(networks)
    pristine = weights(networks)
    for share, selection in ((0, [(files[1], 1.0)]), (100, [(files[1], 1.0)]), (100, [])):
        adapters = Adapters(**networks, keep_bytes=int(share * touched_bytes(networks)))
        adapters.use([(files[0], 0.5)])
        adapters.use(selection)
        for network in networks.values():
            for parameter in network.parameters():  # what Module.to does on the way to a device and back
                parameter.data = parameter.data.clone()
        adapters.use([(files[2], 0.5)])
        assert equal(weights(networks), weights(twin.with_loras([(files[2], 0.5)])))
        adapters.use([])
        assert equal(weights(networks), pristine)


# --- identities --------------------------------------------------------------------------------------------------


def test_the_key_is_of_contents_and_scales(networks: Networks, files: list[Path], tmp_path: Path) -> None:
    adapters = Adapters(**networks)
    key = lambda *selection: adapters.identify(selection).key  # noqa: E731
    a, b, *_ = files
    copied = tmp_path / "copied.safetensors"
    copied.write_bytes(a.read_bytes())
    assert key() == key((a, 0.0)) == key((a, 0.5), (a, -0.5)) == ""
    assert key((a, 1.0), (b, 0.5)) == key((b, 0.5), (a, 1.0)) == key((a, 0.25), (b, 0.5), (copied, 0.75))
    assert key((a, 0.1), (a, 0.2), (a, 0.7)) == key((a, 0.7), (a, 0.1), (copied, 0.2))
    assert len({key((a, 1.0)), key((a, 0.5)), key((b, 1.0)), key((a, 1.0), (b, 1.0))}) == 4
    assert adapters.key == ""
    adapters.use([(a, 1.0), (b, 0.5)])
    assert adapters.key == key((b, 0.5), (copied, 1.0))
    assert adapters.use([(b, 0.5), (copied, 1.0)]).written == 0


def test_the_connectors_key_is_of_what_changes_them(networks: Networks, files: list[Path]) -> None:
    adapters = Adapters(**networks)
    adapters.use([(files[0], 1.0)])
    assert adapters.connectors_key == ""
    adapters.use([(files[0], 1.0), (files[2], 0.5)])
    assert adapters.connectors_key == adapters.identify([(files[2], 0.5)]).key
    adapters.use([(files[2], 0.5)])
    alone = adapters.connectors_key
    adapters.use([(files[1], 2.0), (files[2], 0.5)])
    assert adapters.connectors_key == alone
    adapters.use([(files[2], 0.6)])
    assert adapters.connectors_key not in ("", alone)
    adapters.use([])
    assert adapters.connectors_key == ""


def test_the_report_is_a_line_for_the_log(networks: Networks, files: list[Path]) -> None:
    adapters = Adapters(**networks)
    report = adapters.use([(files[3], 0.25)])
    layers = layers_like(networks, "transformer.", ".ff.")
    assert (report.files, report.layers, report.written) == ({"3.safetensors": 0.25}, len(layers), len(layers))
    assert str(report).startswith(f"3.safetensors x 0.25: {len(layers)} layers merged, {len(layers)} written, in ")
    assert str(adapters.use([])).startswith(f"no LoRAs ({len(layers)} layers restored in ")
