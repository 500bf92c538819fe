"""What fails while LoRAs are put on leaves the networks as they were, or without any."""

import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from lora_networks import Networks, Twin, copied, equal, outputs, touched_bytes, weights, write_four

from stillmotion.engine.components import Components
from stillmotion.engine.lora.adapters import Adapters
from stillmotion.errors import EngineError
from stillmotion.job import Family


@pytest.fixture
def networks(loaded: Mapping[Family, Components]) -> Networks:
    return copied(loaded["ltx-2.3"])


@pytest.fixture
def files(networks: Networks, tmp_path: Path) -> list[Path]:
    return write_four(networks, tmp_path)


def with_a_last_value(path: Path, to: Path, value: float) -> Path:
    """A copy whose very last number, in the last layer, is ``value``."""
    data = path.read_bytes()
    to.write_bytes(data[:-2] + torch.tensor([value], dtype=torch.bfloat16).view(torch.uint8).numpy().tobytes())
    return to


@pytest.mark.parametrize("share", [0, 1, 100])
def test_a_file_that_breaks_in_the_middle(networks: Networks, files: list[Path], tmp_path: Path, share: float) -> None:
    twin = Twin(networks)
    broken = with_a_last_value(files[2], tmp_path / "broken.safetensors", math.nan)
    adapters = Adapters(**networks, keep_bytes=int(share * touched_bytes(networks)))
    good = [(files[2], 0.5)]
    for before in ([], good):
        adapters.use(before)
        with pytest.raises(EngineError, match=r"broken.safetensors has values in \S+ that are not finite numbers"):
            adapters.use([(broken, 1.0)])
        now = good if adapters.key else []
        assert adapters.key == adapters.identify(now).key
        assert adapters.connectors_key == adapters.identify(now).connectors_key
        assert equal(weights(networks), weights(twin.with_loras(now)))
        # Where the set before could be kept, it was.
        assert now == ([] if share == 0 else before)
    adapters.use([(files[1], 1.0)])
    assert equal(weights(networks), weights(twin.with_loras([(files[1], 1.0)])))


def test_a_file_that_breaks_beside_the_weights(networks: Networks, files: list[Path], tmp_path: Path) -> None:
    before = outputs(networks)
    broken = with_a_last_value(files[2], tmp_path / "broken.safetensors", math.inf)
    adapters = Adapters(**networks, mode="unmerged")
    adapters.use([(files[1], 1.0)])
    with pytest.raises(EngineError, match="not finite"):
        adapters.use([(broken, 1.0)])
    assert adapters.key == ""
    assert equal(outputs(networks), before)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize(
    ("change", "reason"),
    [(cut, r"2\.safetensors is cut off"), (Path.unlink, r"2\.safetensors cannot be read: No such file")],
)
def test_a_file_that_is_cut_short(
    networks: Networks, files: list[Path], change: Callable[[Path], None], reason: str, before: int
) -> None:
    adapters = Adapters(**networks)
    for selection in ([(files[2], 0.5)], [(files[0], 1.0)])[: 2 * before]:
        adapters.use(selection)
    kept, key = weights(networks), adapters.key
    change(files[2])
    with pytest.raises(EngineError, match=reason):
        adapters.use([(files[1], 1.0), (files[2], 0.3)])
    assert adapters.key == key
    assert equal(weights(networks), kept)


def test_a_file_that_is_replaced_is_read_anew(networks: Networks, files: list[Path]) -> None:
    adapters = Adapters(**networks)
    adapters.use([(files[0], 0.5)])
    files[0].unlink()
    files[0].write_bytes(files[1].read_bytes())
    assert adapters.identify([(files[0], 0.5)]) == adapters.identify([(files[1], 0.5)])


@pytest.mark.parametrize("scale", [math.nan, math.inf])
def test_a_scale_is_a_finite_number(networks: Networks, files: list[Path], scale: float) -> None:
    with pytest.raises(EngineError, match=r"the scale of 0\.safetensors is not a finite number"):
        Adapters(**networks).use([(files[0], scale)])


OUT_OF_MEMORY = """
import resource, sys, torch
from pathlib import Path
from safetensors.torch import save_file
from torch import nn
from stillmotion.engine.lora.adapters import Adapters
from stillmotion.errors import OutOfMemory

torch.set_num_threads(1)
transformer = nn.ModuleDict({"a": nn.Linear(256, 256), "z": nn.Linear(4096, 4096)}).requires_grad_(False)
pristine = {name: layer.weight.clone() for name, layer in transformer.items()}
tensors = {}
for name, layer in transformer.items():
    tensors[f"{name}.lora_A.weight"] = torch.ones(1, layer.in_features)
    tensors[f"{name}.lora_B.weight"] = torch.ones(layer.out_features, 1)
path = Path(sys.argv[1])
save_file(tensors, path)
adapters = Adapters(transformer, nn.Module())
adapters.identify([(path, 1.0)])

def limit(more):
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more, -1) if more else (-1, -1))

limit(32 * 2**20)  # the second layer has 64 MiB
try:
    adapters.use([(path, 1.0)])
except OutOfMemory as error:
    print(error.message)
limit(0)
print(adapters.key == "", all(torch.equal(layer.weight, pristine[name]) for name, layer in transformer.items()))
adapters.use([(path, 1.0)])
print(all(torch.equal(layer.weight, pristine[name] + 1) for name, layer in transformer.items()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits a process's memory as Linux does")
def test_running_out_of_memory_leaves_the_networks_as_they_were(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OUT_OF_MEMORY, str(tmp_path / "a.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.stderr == ""
    message, restored, usable = done.stdout.splitlines()
    assert message.startswith("out of memory on cpu for the weights of LoRAs")
    assert (restored, usable) == ("True True", "True")
