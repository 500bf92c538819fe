"""What LoRAs make of the weights in each stage: ``W + sum_i scale_i alpha_i / rank_i B_i A_i``, to 1e-6."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from analytic import B19, LORA, LTX_2, LTX_2_3, QUALITY, plan
from lora_files import LAYOUTS, Layer, linear_layers, published, random_changes, write
from safetensors.torch import load_file
from torch import Tensor

from stillmotion.endpoints.endpoint import Endpoint
from stillmotion.engine.checks import select_loras
from stillmotion.engine.components import Components
from stillmotion.engine.lora.adapters import Adapters
from stillmotion.engine.manifest import Manifest, load_manifest
from stillmotion.job import Family

LARGE = {"video_size": {"width": 128, "height": 128}, "use_multiscale": True}
CAMERA = "dolly_left"

Scales = Mapping[str, float]
"""Name of a LoRA to the factor of its ``B A``."""


class Bench:
    """One bundle's networks, its own LoRA files and two more, one of which has an alpha of half its rank."""

    def __init__(self, folder: Path, components: Components, own: Path) -> None:
        self._folder = folder
        self.manifest: Manifest = load_manifest(folder)
        self.networks = {name: copy.deepcopy(getattr(components, name)) for name in ("transformer", "connectors")}
        self._adapters = Adapters(**self.networks)
        self._layers = linear_layers(self.networks)
        self.pristine = self.weights()
        self.files = {
            "loras.0": self._written(own / "first.safetensors", seed=1, layout="official"),
            "loras.1": self._written(own / "second.safetensors", seed=2, layout="kohya", alpha=2.0),
        }

    def _written(self, path: Path, *, seed: int, layout: str, alpha: float | None = None) -> Path:
        chosen = [key for index, key in enumerate(sorted(self._layers)) if index % 3 == seed % 3]
        return write(path, LAYOUTS[layout](random_changes(self._layers, chosen, seed=seed, rank=4, alpha=alpha)))

    def weights(self) -> dict[Layer, Tensor]:
        return {key: layer.weight.detach().clone() for key, layer in self._layers.items()}

    def file(self, name: str) -> Path:
        return self.files.get(name) or self._folder / self.manifest.loras[name]

    def made(self, endpoint: Endpoint, **fields: Any) -> list[dict[Layer, Tensor]]:
        """The weights in each stage."""
        job = plan(endpoint, model=self.manifest.model(), **fields)
        found = []
        for stage in job.stages:
            self._adapters.use(select_loras(stage, self.manifest, self._folder, self.files))
            found.append(self.weights())
        return found

    def expected(self, scales: Scales) -> dict[Layer, Tensor]:
        """In fp64, from the files' own tensors."""
        total = {key: weight.double() for key, weight in self.pristine.items()}
        for name, scale in scales.items():
            tensors = load_file(self.file(name))
            for key in total:
                for down, up, alpha in _names(key):
                    if down in tensors:
                        factor = float(tensors[alpha]) / len(tensors[down]) if alpha in tensors else 1.0
                        total[key] = total[key] + scale * factor * tensors[up].double() @ tensors[down].double()
        return total

    def check(self, endpoint: Endpoint, stages: Sequence[Scales], **fields: Any) -> None:
        made = self.made(endpoint, **fields)
        assert len(made) == len(stages)
        for weights, scales in zip(made, stages, strict=True):
            expected = self.expected(scales)
            for key, weight in weights.items():
                if torch.equal(expected[key], self.pristine[key].double()):
                    assert torch.equal(weight, self.pristine[key]), key
                else:
                    torch.testing.assert_close(weight.double(), expected[key], rtol=0, atol=1e-6)
            changed = [key for key in weights if not torch.equal(weights[key], self.pristine[key])]
            assert bool(changed) is any(scales.values())


def _names(key: Layer) -> list[tuple[str, str, str]]:
    path = published(key)
    dotted = path if path.startswith("text_embedding_projection.") else f"diffusion_model.{path}"
    flat = f"lora_unet_{path.replace('.', '_')}"
    return [
        (f"{dotted}.lora_A.weight", f"{dotted}.lora_B.weight", f"{dotted}.alpha"),
        (f"{flat}.lora_down.weight", f"{flat}.lora_up.weight", f"{flat}.alpha"),
    ]


@pytest.fixture(scope="module")
def bench(
    bundles: Mapping[Family, Path], loaded: Mapping[Family, Components], tmp_path_factory: pytest.TempPathFactory
) -> Bench:
    return Bench(bundles["ltx-2.3"], loaded["ltx-2.3"], tmp_path_factory.mktemp("loras"))


@pytest.mark.parametrize(("first", "second"), [(0.2, 0.5), (0, 0.5), (1, 0), (0, 0)])
def test_the_scales_of_the_distilled_lora(bench: Bench, first: float, second: float) -> None:
    """Each pass has its own; 0 leaves every bit of the weights."""
    scales = {"distill_lora_first_pass_scale": first, "distill_lora_second_pass_scale": second}
    bench.check(LORA, [{"distilled": first}, {"distilled": second}], **LARGE, **scales)


@pytest.mark.parametrize(
    ("endpoint", "stages", "fields"),
    [
        (B19, [{}, {"distilled": 1.0}], LARGE),
        (QUALITY, [{"distilled": 0.5}], {}),
        (LTX_2, [{}, {"distilled": 1.0}], {}),
        (LTX_2_3, [{}, {"distilled": 0.5}], {}),
    ],
    ids=lambda value: getattr(value, "id", ""),
)
def test_the_distilled_lora_where_the_document_has_no_scale(
    bench: Bench, endpoint: Endpoint, stages: list[Scales], fields: Mapping[str, Any]
) -> None:
    bench.check(endpoint, stages, **fields)


@pytest.mark.parametrize("endpoint", [B19, LORA], ids=lambda endpoint: endpoint.id)
@pytest.mark.parametrize("scale", [0, 0.35, 1])
def test_the_camera_lora_and_its_scale(bench: Bench, endpoint: Endpoint, scale: float) -> None:
    """In every stage, and beside the distilled LoRA."""
    second = {"distilled": 1.0 if endpoint is B19 else 0.5}
    first = {} if endpoint is B19 else {"distilled": 0.2}
    camera = {CAMERA: scale}
    bench.check(endpoint, [first | camera, second | camera], **LARGE, camera_lora=CAMERA, camera_lora_scale=scale)


NONE = {"distill_lora_first_pass_scale": 0, "distill_lora_second_pass_scale": 0}


@pytest.mark.parametrize("scales", [(1.0,), (-2.5,), (0.0,), (0.3, 1.5), (0.0, 0.75)])
def test_loras_with_their_scales_and_alphas_add_up(bench: Bench, scales: tuple[float, ...]) -> None:
    """One, two, one of them switched off; the second file has an alpha."""
    given = [{"path": f"local:{index}.safetensors", "scale": scale} for index, scale in enumerate(scales)]
    expected = {f"loras.{index}": scale for index, scale in enumerate(scales)}
    bench.check(LORA, [expected, expected], **LARGE, **NONE, loras=given)


def test_all_kinds_of_loras_add_up(bench: Bench) -> None:
    given = [{"path": "local:0.safetensors", "scale": 0.5}, {"path": "local:1.safetensors", "scale": -1}]
    own = {"loras.0": 0.5, "loras.1": -1.0, CAMERA: 0.8}
    fields = {"camera_lora": CAMERA, "camera_lora_scale": 0.8, "loras": given}
    bench.check(LORA, [{**own, "distilled": 0.2}, {**own, "distilled": 0.5}], **LARGE, **fields)


def test_without_loras_every_bit_is_the_models(bench: Bench) -> None:
    """Also right after a request with some."""
    bench.check(LORA, [{}, {}], **LARGE, **NONE, loras=[])
    bench.check(B19, [{}], camera_lora="none")
