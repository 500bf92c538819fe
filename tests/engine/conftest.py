"""Tiny bundles of both families, built once, and the engines on them."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt
import pytest

from stillmotion.job import Family, Guidance, Job, Keyframe, Stage

if TYPE_CHECKING:
    from stillmotion.engine.components import Components
    from stillmotion.engine.engine import Engine

TORCH = importlib.util.find_spec("torch") is not None or os.environ.get("STILLMOTION_TEST_REQUIRE") == "all"


class _NeedsTorch(pytest.Module):
    """Stands for a test module that cannot be imported here, and says why."""

    def collect(self) -> NoReturn:
        pytest.skip("needs torch: pip install stillmotion[engine]", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    return None if TORCH else _NeedsTorch.from_parent(parent, path=module_path)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """On layers this small two threads mostly wait for each other: on busy cores they take six times as long."""
    import torch

    torch.set_num_threads(1)


FAMILIES: tuple[Family, ...] = ("ltx-2", "ltx-2.3")


STAGE = ("steps", "schedule", "gradient_gamma", "restart")


@pytest.fixture(scope="session")
def bundles(tiny_models: Path) -> Mapping[Family, Path]:
    return {family: tiny_models / f"tiny-{family}" for family in FAMILIES}


@pytest.fixture(scope="session")
def engines(bundles: Mapping[Family, Path]) -> Mapping[Family, Engine]:
    from stillmotion.engine.engine import Engine

    return {family: Engine.load(folder, device="cpu") for family, folder in bundles.items()}


@pytest.fixture(scope="session")
def loaded(bundles: Mapping[Family, Path]) -> Mapping[Family, Components]:
    import torch

    from stillmotion.engine.components import load_components
    from stillmotion.engine.manifest import load_manifest

    return {
        family: load_components(folder, load_manifest(folder), torch.device("cpu"), torch.float32)
        for family, folder in bundles.items()
    }


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def engine(engines: Mapping[Family, Engine], family: Family) -> Engine:
    return engines[family]


@pytest.fixture
def components(loaded: Mapping[Family, Components], family: Family) -> Components:
    return loaded[family]


@pytest.fixture(scope="session")
def components_of_both(loaded: Mapping[Family, Components]) -> list[Components]:
    return list(loaded.values())


@pytest.fixture(scope="session")
def picture() -> npt.NDArray[np.uint8]:
    """A photograph's worth of structure in 90 x 140 pixels: gradients, an edge and grain."""
    rows, columns = np.mgrid[0:90, 0:140]
    channels = np.stack([rows * 2, columns, 255 - rows - columns // 2], axis=-1).astype(np.float64)
    channels[30:60, 50:90] = (200, 40, 90)
    channels += np.random.default_rng(0).normal(0, 8, channels.shape)
    return channels.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def make_job() -> Callable[..., Job]:
    """A job of 64x64, 9 frames, 2 steps with guidance and a start image; any field of Job or Stage can be given."""

    def make(**fields: Any) -> Job:
        stage = {name: fields.pop(name) for name in list(fields) if name in (*STAGE, "video", "audio_guidance")}
        guidance = {"video": stage.get("video", Guidance(cfg=3)), "audio": stage.get("audio_guidance", Guidance(cfg=7))}
        values: dict[str, Any] = {
            "model": "tiny",
            "prompt": "a robot dancing in the rain",
            "negative_prompt": "blurry",
            "width": 64,
            "height": 64,
            "num_frames": 9,
            "fps": 24.0,
            "seed": 7,
            "audio": True,
            "keyframes": (Keyframe(image="image_url", frame=0),),
        } | fields
        size = {name: values[name] for name in ("width", "height", "num_frames", "fps")}
        how = {"steps": 2} | {name: value for name, value in stage.items() if name in STAGE}
        values.setdefault("stages", (Stage(**size, **how, **guidance),))
        return Job(**values)

    return make
