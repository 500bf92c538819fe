"""What the qualities and the write modes promise, on photographs that move."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from video_files import CONTAINERS, QUALITIES, WRITE_MODES, encoding, psnr, rgb_frames, rgb_of_planes, write

from stillmotion.media.yuv import planar

EXAMPLES = Path(__file__).parents[2] / "examples"
WIDTH, HEIGHT, FRAMES = 192, 112, 12


def zoom(name: str, grain: float) -> np.ndarray:
    """Planar frames of a photograph that comes nearer, under fresh grain (standard deviation in levels)."""
    random = np.random.default_rng(0)
    with Image.open(EXAMPLES / name) as picture:
        frames = [_window(picture.convert("RGB"), 0.9 - 0.3 * index / FRAMES) for index in range(FRAMES)]
    noisy = np.stack(frames) + random.normal(0, grain, (FRAMES, HEIGHT, WIDTH, 1))
    return planar(np.clip(noisy, 0, 255).astype(np.uint8))


def _window(picture: Image.Image, part: float) -> np.ndarray:
    height = min(picture.height, picture.width * HEIGHT / WIDTH) * part
    left, top = (picture.width - height * WIDTH / HEIGHT) / 2, (picture.height - height) / 2
    box = (left, top, left + height * WIDTH / HEIGHT, top + height)
    return np.asarray(picture.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS, box=box), float)


CLIPS = {"chelsea": ("chelsea.png", 0.0), "coffee, grainy": ("coffee.png", 1.5), "rocket": ("rocket.jpg", 0.7)}


@pytest.fixture(scope="module", params=CLIPS)
def clip(request: pytest.FixtureRequest) -> np.ndarray:
    return zoom(*CLIPS[request.param])


@pytest.mark.parametrize("container", CONTAINERS)
def test_quality_costs_bytes_and_time_saves_them(tmp_path: Path, clip: np.ndarray, container: str) -> None:
    original, sizes, likeness = rgb_of_planes(clip), {}, {}
    for write_mode in WRITE_MODES:
        for quality in QUALITIES:
            write(tmp_path / "v", clip, encoding(container, quality=quality, write_mode=write_mode))
            sizes[write_mode, quality] = (tmp_path / "v").stat().st_size
            likeness[write_mode, quality] = psnr(rgb_frames(tmp_path / "v"), original)
    for write_mode in WRITE_MODES:
        for rising in (sizes, likeness):
            values = [rising[write_mode, quality] for quality in QUALITIES]
            assert values == sorted(set(values)), (write_mode, values)
    for quality in QUALITIES:
        assert sizes["small", quality] < min(sizes["balanced", quality], sizes["fast", quality]), (quality, sizes)
