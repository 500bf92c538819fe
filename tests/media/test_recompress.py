"""The conditioning image's compression equals that of the reference pipelines."""

import numpy as np
import pytest
from PIL import Image

from requirements import need_package
from stillmotion.media.recompress import recompress


@pytest.mark.parametrize("crf", [0, 18, 33])
@pytest.mark.parametrize("size", [(160, 96), (159, 95), (64, 34)])
def test_equal_to_diffusers(photograph: Image.Image, crf: int, size: tuple[int, int]) -> None:
    need_package("diffusers", "pip install 'stillmotion[engine]'")
    from diffusers.pipelines.ltx2.utils import apply_image_conditioning_crf

    rgb = np.array(photograph.resize(size))
    assert np.array_equal(recompress(rgb, crf), apply_image_conditioning_crf(rgb, crf))


def test_zero_changes_nothing(photograph: Image.Image) -> None:
    rgb = np.asarray(photograph)[:95, :159]
    assert recompress(rgb, 0) is rgb


def test_a_higher_crf_loses_more(photograph: Image.Image) -> None:
    rgb = np.asarray(photograph)
    losses = [np.abs(recompress(rgb, crf).astype(float) - rgb).mean() for crf in (5, 18, 33, 48)]
    assert losses == sorted(losses)
    assert 0 < losses[0] < losses[-1]
