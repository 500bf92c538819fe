"""What headers alone tell of a bundle's files."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from official_layout import UPSAMPLERS, copied, tiny_config, tiny_tensors, write_bundle, write_sparse
from safetensors.torch import load_file, save_file

from stillmotion.engine.official.verify import verify_bundle, verify_checkpoint
from stillmotion.errors import BundleError
from stillmotion.job import Family

TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture
def official(bundles: Mapping[Family, Path], tmp_path: Path) -> Path:
    """LTX-2's tiny networks in one file."""
    bundle = bundles["ltx-2"]
    return write_bundle(tmp_path / "official", bundle, tiny_tensors(bundle, "ltx-2"), tiny_config(bundle, "ltx-2"))


def edit(folder: Path, **fields: object) -> None:
    path = folder / "stillmotion.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_sound_bundles_have_no_problems(bundles: Mapping[Family, Path], family: Family, official: Path) -> None:
    assert verify_bundle(bundles[family]) == []
    assert verify_bundle(official) == []


def test_a_published_bundle_of_full_size(official: Path) -> None:
    write_sparse("ltx-2-19b-dev", official / "checkpoint.safetensors")
    names = {"spatial_x2": "ltx-2-spatial-upscaler-x2-1.0", "temporal_x2": "ltx-2-temporal-upscaler-x2-1.0"}
    loras = {"distilled": "ltx-2-19b-distilled-lora-384", "dolly_in": "ltx-2-19b-camera-lora-dolly-in"}
    for name in (*names.values(), *loras.values()):
        write_sparse(name, official / f"{name}.safetensors")
    edit(
        official,
        upsamplers={kind: f"{name}.safetensors" for kind, name in names.items()},
        loras={lora: f"{name}.safetensors" for lora, name in loras.items()},
    )
    assert verify_bundle(official) == []


def test_no_bundle_is_one_problem(tmp_path: Path) -> None:
    assert verify_bundle(tmp_path) == [f"{tmp_path} is not a model bundle: it has no stillmotion.json"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def index(folder: Path, text: str) -> None:
    (folder / "text_encoder" / "model.safetensors.index.json").write_text(text)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: cut(folder / TRANSFORMER), f"{TRANSFORMER} is cut off"),
        (lambda folder: (folder / TRANSFORMER).unlink(), "transformer holds no safetensors file"),
        (
            lambda folder: index(folder, '{"weight_map": {"a": "b.safetensors"}}'),
            "b.safetensors cannot be read: No such",
        ),
        (lambda folder: index(folder, "{"), "model.safetensors.index.json cannot be read"),
        (lambda folder: index(folder, '{"weight_map": 3}'), "model.safetensors.index.json cannot be read"),
        (lambda folder: edit(folder, loras={"distilled": "text.safetensors"}), "text.safetensors is a web page"),
        (lambda folder: edit(folder, loras={"distilled": "weights.safetensors"}), "is no LoRA: none of its 61 tensors"),
        (lambda folder: edit(folder, upsamplers={"spatial_x2": "weights.safetensors"}), "is no latent upsampler"),
        (
            lambda folder: edit(folder, upsamplers={"spatial_x2": "x1.5.safetensors"}),
            "is an upsampler of x1.5 in space",
        ),
    ],
)
def test_each_problem_is_told(
    bundles: Mapping[Family, Path], spoil: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    folder = copied(bundles["ltx-2.3"], tmp_path / "bundle")
    (folder / "text.safetensors").write_text("<html>")
    weights = load_file(folder / TRANSFORMER)
    save_file({key: weights[key] for key in sorted(weights)[:61]}, folder / "weights.safetensors")
    write_sparse(UPSAMPLERS[2], folder / "x1.5.safetensors")
    spoil(folder)
    (problem,) = verify_bundle(folder)
    assert message in problem


def test_all_problems_are_told(official: Path, tmp_path: Path) -> None:
    cut(official / "checkpoint.safetensors")
    encoder = (official / "text_encoder").resolve()
    (official / "text_encoder").unlink()
    (official / "text_encoder").mkdir()
    (official / "text_encoder" / "config.json").write_bytes((encoder / "config.json").read_bytes())
    assert [problem.split(" ", 1)[1] for problem in verify_bundle(official)] == [
        f"is cut off: it has {(size := (official / 'checkpoint.safetensors').stat().st_size)} of {size + 10} bytes. "
        "Download it again",
        "holds no safetensors file",
    ]


def test_a_checkpoint_of_the_other_family_is_told(tmp_path: Path) -> None:
    path = write_sparse("ltx-2-19b-dev", tmp_path / "file.safetensors")
    verify_checkpoint(path, "ltx-2")
    with pytest.raises(BundleError, match=r"is of family ltx-2, not ltx-2\.3"):
        verify_checkpoint(path, "ltx-2.3")
