"""What is wrong with a published file is told before it is loaded, and by name."""

import copy
import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from official_layout import (
    UPSAMPLERS,
    tiny_config,
    tiny_tensors,
    with_published_vae,
    write_bundle,
    write_raw,
    write_sparse,
)
from safetensors.torch import save_file
from torch import Tensor

from stillmotion.engine.engine import Engine
from stillmotion.engine.official.networks import open_checkpoint
from stillmotion.errors import BundleError
from stillmotion.job import Family

BLOCK = "model.diffusion_model.transformer_blocks.1"
Tensors = dict[str, Tensor]
Config = dict[str, Any]


@pytest.fixture(scope="module")
def bundle(bundles: Mapping[Family, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_published_vae(bundles["ltx-2.3"], tmp_path_factory.mktemp("faults") / "bundle")


@pytest.fixture(scope="module")
def parts(bundle: Path) -> tuple[Tensors, Config]:
    return tiny_tensors(bundle, "ltx-2.3"), tiny_config(bundle, "ltx-2.3")


@pytest.fixture
def refusal(bundle: Path, parts: tuple[Tensors, Config], tmp_path: Path) -> Callable[..., str]:
    """Loads the tiny bundle after ``change`` of its tensors and metadata, or ``spoil`` of its file; why it fails."""

    def attempt(
        change: Callable[[Tensors, Config], object] = lambda tensors, config: None,
        spoil: Callable[[Path], object] = lambda path: None,
        **fields: Any,
    ) -> str:
        tensors, config = dict(parts[0]), copy.deepcopy(parts[1])
        change(tensors, config)
        folder = write_bundle(tmp_path / "bundle", bundle, tensors, config, **fields)
        spoil(folder / "checkpoint.safetensors")
        with pytest.raises(BundleError) as caught:
            Engine.load(folder, device="cpu")
        return caught.value.message

    return attempt


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def lengthen(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def cut_within_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def overstate(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 2**62) + path.read_bytes()[8:])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut, "is cut off: it has "),
        (lengthen, "4 bytes follow its last tensor"),
        (cut_within_header, "is cut off within its header: download it again"),
        (overstate, "its header would have 4611686018427387904 bytes"),
        (lambda path: path.write_bytes(b""), "it has 0 bytes and no header"),
        (lambda path: path.write_text("<!DOCTYPE html><html>Not Found</html>"), "is a web page, not safetensors"),
        (lambda path: path.write_text("\n  <html></html>"), "is a web page, not safetensors"),
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "is a Git LFS pointer"),
        (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(100)), "is a zip or pickle archive"),
        (lambda path: path.write_bytes(b"GGUF" + bytes(100)), "is a GGUF file"),
    ],
)
def test_a_file_that_is_not_whole_is_told(
    refusal: Callable[..., str], spoil: Callable[[Path], object], message: str
) -> None:
    assert message in refusal(spoil=spoil)


def remove(key: str) -> Callable[[Tensors, Config], object]:
    return lambda tensors, config: tensors.pop(key)


def put(key: str, tensor: Tensor) -> Callable[[Tensors, Config], object]:
    return lambda tensors, config: tensors.update({key: tensor})


def remove_all(prefix: str) -> Callable[[Tensors, Config], object]:
    def change(tensors: Tensors, config: Config) -> None:
        for key in [key for key in tensors if key.startswith(prefix)]:
            del tensors[key]

    return change


def say(name: str, value: object) -> Callable[[Tensors, Config], object]:
    def change(tensors: Tensors, config: Config) -> None:
        *path, last = name.split(".")
        for element in path:
            config = config[element]
        config[last] = value

    return change


CONNECTOR = "model.diffusion_model.audio_embeddings_connector"
NORM = f"{BLOCK}.attn1.q_norm.weight"
QUERY = f"{BLOCK}.attn1.to_q.weight"
PROJECTION = "text_embedding_projection.video_aggregate_embed.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove(NORM), "transformer lacks 1 tensors, transformer_blocks.1.attn1.norm_q.weight among them"),
        (remove_all(f"{BLOCK}."), "transformer lacks transformer_blocks.1"),
        (remove_all(f"{BLOCK[:-1]}2."), "transformer has blocks 2, by its metadata 3"),
        (remove_all(f"{CONNECTOR}.transformer_1d_blocks.0."), "connectors has audio blocks 0, by its metadata 1"),
        (say("audio_vae.model.params.ddconfig.num_res_blocks", 2), "audio_vae has resnets 1, by its metadata 2"),
        (say("audio_vae.model.params.ddconfig.ch_mult", [1, 1]), "audio_vae has widths [1, 1, 1], by its metadata [1"),
        (say("vocoder.bwe.resblock_kernel_sizes", [3, 7]), "vocoder has kernels [3], by its metadata [3, 7]"),
        (remove_all("vae."), "holds no vae: it is not the whole published file"),
        (remove_all("vocoder.bwe_generator."), "vocoder lacks bwe_generator.conv_in.weight"),
        (put("model.diffusion_model.stranger", torch.ones(1)), "1 unknown tensors: model.diffusion_model.stranger"),
        (put("decoder.conv_in.conv.weight", torch.ones(1)), "1 unknown tensors: decoder.conv_in.conv.weight"),
        (
            put("model.diffusion_model.caption_projection.linear_2.bias", torch.ones(1)),
            "transformer has 1 that it has no use for, model.diffusion_model.caption_projection.linear_2.bias",
        ),
        (put(NORM, torch.ones(63)), f"transformer has {NORM} of shape [63], not [64]"),
        (put(QUERY, torch.ones(64, 64, 1)), f"has {QUERY} of shape [64, 64, 1], not [64, 64]"),
        (put("vae.per_channel_statistics.mean-of-means", torch.ones(())), "should have 1 dimensions"),
        (put(PROJECTION, torch.ones(64, 97)), "text features of 97, which is no multiple of 32"),
        (put(NORM, torch.ones(64, dtype=torch.int64)), f"{NORM} has type I64"),
        (put(NORM, torch.ones(64, dtype=torch.float64)), f"{NORM} has type F64"),
        (put(QUERY, torch.ones(64, 64).to(torch.float8_e4m3fn)), f"{QUERY} is F8_E4M3 without a weight_scale"),
        (put(QUERY, torch.ones(64, 64).to(torch.float8_e5m2)), f"{QUERY} has type F8_E5M2"),
        (put(f"{BLOCK}.attn1.to_q.weight_scale", torch.ones(())), f"unknown tensors: {BLOCK}.attn1.to_q.weight_scale"),
        (
            put("model.diffusion_model.keyframes_abs_pos_embedding", torch.ones(1, 64)),
            "is an LTX-2.5 checkpoint; LTX-2 and LTX-2.3 are supported",
        ),
        (
            put("text_embedding_projection.aggregate_embed.weight", torch.ones(32, 96)),
            "holds parts of both LTX-2 and LTX-2.3",
        ),
        (lambda tensors, config: tensors.clear() or tensors.update(w=torch.ones(2)), "it has no text_embedding_proj"),
        (say("transformer.norm_eps", "small"), 'transformer.norm_eps in its metadata is "small"'),
        (say("transformer.norm_eps", True), "transformer.norm_eps in its metadata is true"),
        (say("transformer.positional_embedding_max_pos", [20]), "positions of other than 3 and 1 dimensions"),
        (say("vocoder.bwe.upsample_rates", [6, 5]), "upsamples at rates that neither its metadata nor"),
        (say("vocoder.bwe.resblock_dilation_sizes", []), "no network has the shapes and settings"),
        (say("audio_vae.preprocessing.stft.hop_length", 0), "no network has the shapes and settings"),
        (say("vae.decoder_blocks", [["compress_all", {}]]), "vae has layers [1, 1, 1, 1, 1], by its metadata []"),
        (say("vae.decoder_blocks", [["res_x", {}]] * 5), "vae has 4 upsampling blocks, its metadata 0"),
        (say("vae.decoder_blocks", ["compress_all"]), "vae.decoder_blocks in its metadata is no list of blocks"),
        (say("vae.spatial_padding_mode", "mirror"), "no network has the shapes and settings"),
    ],
)
def test_a_file_that_does_not_fit_is_told(
    refusal: Callable[..., str], change: Callable[[Tensors, Config], object], message: str
) -> None:
    assert message in refusal(change)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "configuration in its metadata is not JSON"), ("[]", "configuration in its metadata is not a JSON object")],
)
def test_broken_metadata_are_told(
    refusal: Callable[..., str], parts: tuple[Tensors, Config], text: str, message: str
) -> None:
    assert message in refusal(spoil=lambda path: save_file(parts[0], path, metadata={"config": text}))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"family": "ltx-2"}, "says it is of family ltx-2, but its transformer is ltx-2.3"),
        ({"stg_block": 3}, "stg_block 3 of 3 blocks"),
        ({"max_sequence_length": 250}, "250 is no multiple of the connectors' 16 registers"),
    ],
)
def test_a_manifest_that_contradicts_the_file_is_told(
    refusal: Callable[..., str], fields: Mapping[str, Any], message: str
) -> None:
    assert message in refusal(**fields)


def test_a_text_encoder_of_another_size_is_told(bundle: Path, parts: tuple[Tensors, Config], tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle", bundle, *parts)
    config = json.loads((folder / "text_encoder" / "config.json").read_text())
    config["text_config"]["hidden_size"] = 48
    (folder / "text_encoder").unlink()
    (folder / "text_encoder").mkdir()
    (folder / "text_encoder" / "config.json").write_text(json.dumps(config))
    with pytest.raises(BundleError, match="the text encoder gives 144 features a token, the connectors take 96"):
        Engine.load(folder, device="cpu")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ltx-2.3-22b-distilled-lora-384", "is a LoRA, not a checkpoint: name it under loras"),
        ("ltx-2-19b-camera-lora-jib-up", "is a LoRA, not a checkpoint: name it under loras"),
        *((name, "is a latent upsampler, not a checkpoint: name it under upsamplers") for name in UPSAMPLERS),
    ],
)
def test_other_published_files_are_no_checkpoints(name: str, message: str, tmp_path: Path) -> None:
    path = write_sparse(name, tmp_path / "file.safetensors")
    with pytest.raises(BundleError) as caught:
        open_checkpoint(path)
    assert message in caught.value.message


@pytest.fixture(scope="module")
def small(bundle: Path, parts: tuple[Tensors, Config], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The tiny file's length and header."""
    path = write_bundle(tmp_path_factory.mktemp("small") / "bundle", bundle, *parts) / "checkpoint.safetensors"
    raw = path.read_bytes()
    return raw[: 8 + int.from_bytes(raw[:8], "little")]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_any_shape_and_setting_is_refused_or_loads(
    small: bytes, parts: tuple[Tensors, Config], tmp_path: Path, data: st.DataObject
) -> None:
    """One tensor of another shape, or one setting of another value: never anything but a BundleError."""
    header = json.loads(small[8:])
    config = copy.deepcopy(parts[1])
    if data.draw(st.booleans()):
        key = data.draw(st.sampled_from(sorted(set(header) - {"__metadata__"})))
        header[key]["shape"] = data.draw(st.lists(st.integers(0, 70), max_size=5))
    else:
        section = data.draw(st.sampled_from(["transformer", "vae", "vocoder", "audio_vae"]))
        name = data.draw(st.sampled_from(sorted(config[section])))
        config[section][name] = data.draw(JSON | st.integers(-2, 99))
    header["__metadata__"] = {"config": json.dumps(config)}
    path = tmp_path / "file.safetensors"
    _rewrite(path, header)
    try:
        checkpoint = open_checkpoint(path)
    except BundleError:
        return
    assert checkpoint.family == "ltx-2.3"


def _rewrite(path: Path, header: dict[str, Any]) -> None:
    """With offsets for the shapes."""
    end = 0
    for key, entry in header.items():
        if key != "__metadata__":
            begin, end = end, end + torch.Size(entry["shape"]).numel() * 4
            entry["data_offsets"] = [begin, end]
    write_raw(path, json.dumps(header).encode(), end)
