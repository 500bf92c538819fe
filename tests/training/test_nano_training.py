"""The whole chain of the nano checkpoint, small: prepared, trained, measured, exported, served."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from training.nano import blocks, checkpoint, evaluate, export, held_out, moves, sound, train, video_training, video_vae
from training.nano.loop import Clock
from training.nano.moves import MOVES
from training.nano.run_folder import RunFolder

from stillmotion.engine.engine import Engine
from stillmotion.engine.manifest import load_manifest
from stillmotion.job import Job, Keyframe, Lora, Stage

CPU = torch.device("cpu")


def quiet(text: str) -> None:
    pass


class Steps(Clock):
    """A clock that runs out after so many looks at it: one before each step."""

    def __init__(self, count: int) -> None:
        object.__setattr__(self, "_left", [count])

    @property
    def over(self) -> bool:
        left = self._left  # type: ignore[attr-defined]
        left[0] -= 1
        return bool(left[0] < 0)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = RunFolder.create(tmp_path_factory.mktemp("nano") / "run", "smoke", 0)
    train.prepare(folder, quiet)
    for phase in train.PHASES:
        assert train.train(folder, phase, Clock(), CPU, quiet)
    return folder


@pytest.fixture(scope="module")
def bundle(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "nano"
    export.export(run, folder)
    return folder


@pytest.fixture(scope="module")
def engine(bundle: Path) -> Engine:
    return Engine.load(bundle, device="cpu")


def job(**fields: object) -> Job:
    stages = (
        Stage(width=48, height=64, num_frames=9, fps=25.0, steps=2, loras=(Lora(name="jib_up", bundled=True),)),
        Stage(width=96, height=128, num_frames=9, fps=25.0, steps=2, schedule="distilled", start="spatial_x2"),
    )
    values: dict[str, object] = {
        "model": "nano",
        "prompt": "a lighthouse, the camera jibs up",
        "negative_prompt": "blurry",
        "width": 96,
        "height": 128,
        "num_frames": 9,
        "fps": 25.0,
        "seed": 3,
        "audio": True,
        "keyframes": (Keyframe(image="image_url", frame=0), Keyframe(image="end_image_url", frame=8, strength=0.5)),
        "stages": stages,
    }
    return Job(**(values | fields))  # type: ignore[arg-type]


def test_the_exported_bundle_is_served(engine: Engine) -> None:
    """All its parts: both stages with the upsampler between them, a LoRA, an end image, sound."""
    pictures = list(held_out.pictures(128).values())
    images = {"image_url": pictures[0], "end_image_url": pictures[6]}
    made = engine.generate(job(), images, on_progress=lambda _: None, should_stop=lambda: False)
    frames = np.concatenate(list(made.frames))
    assert frames.shape == (9, 192, 96)
    assert made.audio is not None
    assert made.audio.shape == (2, round(9 / 25 * sound.SAMPLE_RATE))
    assert np.isfinite(made.audio).all()
    # The first frame is held whatever the network has learned: the VAE alone stands between it and the picture.
    first = frames[0, :128].astype(float)
    shown = pictures[0].mean(-1)
    assert np.corrcoef(first[::8, ::8].ravel(), shown[::8, 16:112:8].ravel())[0, 1] > 0.8


def test_the_manifest_says_what_the_bundle_has(bundle: Path) -> None:
    manifest = load_manifest(bundle)
    assert manifest.loras.keys() == {*MOVES, "distilled"}
    assert manifest.upsamplers.keys() == {"spatial_x2"}
    assert manifest.demonstration
    assert manifest.model().spatial_multiple == blocks.SPATIAL
    assert (bundle / "LICENSE").read_text().lstrip().startswith("Apache License")
    assert "joint 8" in (bundle / "README.md").read_text()


def test_a_failed_export_leaves_nothing(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        export.export(run, tmp_path / "nano", evaluation=tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []


def test_a_stopped_training_resumes_to_the_same_weights(run: RunFolder, tmp_path: Path) -> None:
    """Weights, averages and what the optimizers remember, bit for bit: stopped in the first curriculum, in the second
    and between them."""
    other = RunFolder.create(tmp_path / "run", "smoke", 0)
    for name in ("basis.pt", "text.pt", "sound.pt", "sound-decoder.pt"):
        shutil.copy(run.path / name, other.path)
    for name in ("clips", "tokenizer"):
        (other.path / name).symlink_to(run.path / name)
    for steps, done in ((1, 1), (3, 4), (2, 6)):
        assert not train.train(other, "joint", Steps(steps), CPU, quiet)
        assert checkpoint.load(other.path / "joint.pt")["step"] == done
    assert train.train(other, "joint", Clock(), CPU, quiet)
    one, two = (checkpoint.load(folder.path / "joint.pt") for folder in (run, other))
    assert one["step"] == two["step"] == 8
    left, right = tensors(one), tensors(two)
    assert left.keys() == right.keys()
    assert len(left) > 300
    differing = [name for name in left if not torch.equal(left[name], right[name])]
    assert differing == []


def tensors(state: object, name: str = "") -> dict[str, Tensor]:
    """Every tensor of a checkpoint by the way to it."""
    if isinstance(state, Tensor):
        return {name: state}
    items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list) else ()
    return {key: tensor for place, item in items for key, tensor in tensors(item, f"{name}/{place}").items()}


def test_a_finished_training_goes_on_with_a_plan(run: RunFolder, tmp_path: Path) -> None:
    other = RunFolder.create(tmp_path / "run", "smoke", 0)
    shutil.copy(run.path / "basis.pt", other.path)
    shutil.copy(run.path / "upsampler.pt", other.path)
    assert train.train(other, "upsampler", Clock(), CPU, quiet)
    assert train.train(other, "upsampler", Clock(), CPU, quiet, plan="x:1,x:2:decay")
    state = checkpoint.load(other.path / "upsampler.pt")
    assert state["step"] == 5
    assert [(each["steps"], each["kind"]) for each in state["segments"]][-2:] == [(1, "steady"), (2, "decay")]
    with pytest.raises(ValueError, match="not in both"):
        train.train(other, "upsampler", Clock(), CPU, quiet, plan="x:1,x:2m")


def test_evaluation_writes_every_row(run: RunFolder, tmp_path: Path) -> None:
    scope = evaluate.Scope(side=48, pictures=1, elsewhere=1, sizes=((64, 48),), for_loras=1, frames=9)
    figures = {figure.name: figure for figure in evaluate.evaluate(run, tmp_path, quiet, scope)}
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert len(written["figures"]) == len(figures) == 26
    assert sum(sum(row.values()) for row in written["confusion"].values()) == 7
    assert figures["same seed same bytes, other seed differs"].met
    assert figures["size of the bundle"].met
    assert {"curve-joint.png", "evaluation.md"} <= {path.name for path in tmp_path.iterdir()}
    assert len(list(tmp_path.glob("sheet-*.jpg"))) == 1


def test_what_is_held_out_is_as_it_was_listed() -> None:
    """The pictures themselves by their hashes; and none of the phrasings is in the training's."""
    assert held_out.listing() == json.loads(held_out.PATH.read_text())


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return video_training.as_tensor(np.stack(list(held_out.pictures(96).values())[:4]))


def test_the_vae_is_the_block_transform(run: RunFolder, pictures: Tensor) -> None:
    """Its encoder computes what the clips were made with; nothing of a clip is lost but what the components leave."""
    basis = video_training.load_basis(run.path)
    vae = video_vae.build(basis)
    clip = moves.clip(pictures, [0, 2, 4, 6], torch.ones(4), 17)
    with torch.no_grad():
        latents = video_vae.encode(vae, clip)
        decoded = vae.decode(latents, return_dict=False)[0]
    direct = blocks.Analyser(basis)(clip)
    assert (latents - direct).abs().mean() < 0.01 * direct.abs().mean()
    assert torch.allclose(latents[:, blocks.PRINCIPAL :], direct[:, blocks.PRINCIPAL :], atol=0.01)
    values = direct[:, : blocks.PRINCIPAL].permute(0, 2, 3, 4, 1) * basis.scale
    rebuilt = blocks.from_blocks(values @ basis.whole.T + basis.mean)
    assert (decoded - rebuilt).square().mean() < 0.2 * (rebuilt - clip).square().mean()


@pytest.mark.parametrize("move", MOVES)
def test_a_move_goes_where_its_word_says(move: str, pictures: Tensor) -> None:
    """The first frame is the picture; the last is what it is displaced, enlarged or reduced to."""
    clip = moves.clip(pictures, [MOVES.index(move)] * 4, torch.ones(4), 9)
    assert (clip[:, :, 0] - pictures).abs().mean() < 1e-4
    last, shift = clip[:, :, -1], round(moves.PAN * 96)
    kept: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
        "dolly_left": lambda: (last[..., shift:], pictures[..., :-shift]),
        "dolly_right": lambda: (last[..., :-shift], pictures[..., shift:]),
        "jib_up": lambda: (last[..., shift:, :], pictures[..., :-shift, :]),
        "jib_down": lambda: (last[..., :-shift, :], pictures[..., shift:, :]),
        "static": lambda: (last, pictures),
    }
    if move in kept:
        seen, was = kept[move]()
        assert (seen - was).abs().mean() < 1e-3
    else:  # the middle third, enlarged or reduced by the zoom
        side = round(96 / 3 * moves.ZOOM) // 2
        inner, outer = (pictures, last) if move == "dolly_in" else (last, pictures)
        small = inner[..., 48 - 16 : 48 + 16, 48 - 16 : 48 + 16]
        large = outer[..., 48 - side : 48 + side, 48 - side : 48 + side]
        scaled = torch.nn.functional.interpolate(large, size=(32, 32), mode="area")
        assert torch.corrcoef(torch.stack((small.flatten(), scaled.flatten())))[0, 1] > 0.95


def test_a_dissolve_is_exact_at_both_ends(pictures: Tensor) -> None:
    ends = pictures.flip(0)
    clip = moves.dissolve(pictures, ends, [0, 1, 2, 6], torch.ones(4), 9)
    assert (clip[:, :, 0] - pictures).abs().mean() < 1e-4
    assert (clip[:, :, -1] - ends).abs().mean() < 1e-4


@pytest.mark.parametrize("move", MOVES)
def test_the_vocoder_makes_each_moves_tone(move: str) -> None:
    """The strongest frequency is the move's, without anything learned in between; moves whoosh, static does not."""
    from training.nano import measure

    features = sound.features([MOVES.index(move)], 26, torch.Generator().manual_seed(1))
    with torch.no_grad():
        wave = sound.vocoder()(features)[0].numpy()
    assert np.abs(wave).max() < 1
    assert measure.strongest_frequency(wave, sound.SAMPLE_RATE) == pytest.approx(sound.TONES[move], rel=0.01)
    noise = measure.noise_share(wave, sound.SAMPLE_RATE, [sound.TONES[move] * k for k in (0.5, 1, 2, 3)])
    assert (noise > 0.01) == (move != "static")


@pytest.mark.parametrize("move", ["dolly_left", "dolly_right", "jib_up", "jib_down"])
def test_measurements_agree_with_the_truth(move: str, pictures: Tensor) -> None:
    from training.nano import measure

    for picture in pictures:
        truth = measure.true_clips(picture, 9)
        clip = truth[MOVES.index(move)]
        assert MOVES[measure.nearest(clip + 0.1, truth)] == move
        assert measure.psnr(clip + 0.1, clip) == pytest.approx(26.02, abs=0.01)
    ways = [measure.amount(move, measure.true_clips(picture, 9)[MOVES.index(move)]) for picture in pictures]
    assert sum(way is not None and 0.8 < way < 1.2 for way in ways) >= 3
