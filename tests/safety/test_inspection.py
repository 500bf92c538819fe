"""A real classifier beside a work: what it sees, what it refuses, and what happens when it cannot."""

import dataclasses
import shutil

import numpy as np
import pytest
from colour_classifier import RED, plain

from stillmotion.errors import ConfigurationError, ContentPolicyViolation, EngineError
from stillmotion.executor.export import Interrupted
from stillmotion.executor.failures import failed
from stillmotion.executor.inspection import NO_CHECKER, Inspection, LazyChecker
from stillmotion.job import Failed, Job, Stage
from stillmotion.media.yuv import planar
from stillmotion.safety.checker import Checkers
from stillmotion.safety.configuration import Classifier
from stillmotion.safety.prompts import PromptPatterns

JOB = Job(
    model="m",
    prompt="a test",
    negative_prompt="",
    width=64,
    height=48,
    num_frames=25,
    fps=25.0,
    seed=1,
    audio=False,
    keyframes=(),
    stages=(Stage(width=64, height=64, num_frames=25, fps=25.0, steps=1),),
    check_safety=True,
)
GREY, REDDISH = plain(120, 120, 120), plain(230, 20, 20)


def of(folder, *, labels=("nsfw",), threshold=0.5):
    return Classifier(folder=str(folder), labels=labels, threshold=threshold)


class Watched:
    """An inspection and what it told."""

    def __init__(self, load, *, job=JOB, stops=lambda: False):
        self.told = []
        self.inspection = Inspection(job, load, lambda message, level: self.told.append((level, message)), stops)

    def run(self, *, pictures=(GREY,), video=(GREY,) * 25, chunk=7):
        """The frames that a writer would get."""
        self.inspection.admit({f"image_{index}": picture for index, picture in enumerate(pictures)})
        planes = planar(np.stack(video))
        chunks = (planes[first : first + chunk] for first in range(0, len(planes), chunk))
        return np.concatenate(list(self.inspection.watch(chunks)))


@pytest.fixture(scope="module")
def red(red_classifier):
    return LazyChecker(of(red_classifier)).get


def test_what_is_harmless_passes_unchanged_and_checked(red):
    watched = Watched(red)
    assert np.array_equal(watched.run(), planar(np.stack([GREY] * 25)))
    assert watched.inspection.checked
    assert watched.inspection.seconds > 0
    assert watched.told == []


def test_a_flagged_picture_is_refused_at_its_field(red):
    watched = Watched(red)
    with pytest.raises(ContentPolicyViolation) as raised:
        watched.run(pictures=(GREY, REDDISH))
    assert raised.value.loc == ("body", "image_1")
    assert watched.told == [("WARN", "the safety checker refuses the picture of image_1: nsfw 1.00")]
    assert not watched.inspection.checked
    assert failed(raised.value) == Failed(
        kind="content_policy_violation", message=raised.value.message, fatal=False, field="image_1"
    )


@pytest.mark.parametrize("place", [0, 12, 24])
def test_one_flagged_frame_refuses_the_video_at_its_end(red, place):
    watched = Watched(red)
    watched.inspection.admit({"image_url": GREY})
    video = [GREY] * 25
    video[place] = REDDISH
    frames = watched.inspection.watch(iter([planar(np.stack(video))]))
    assert next(frames).shape == (25, 72, 64)
    with pytest.raises(ContentPolicyViolation) as raised:
        next(frames)
    assert raised.value.loc == ("body", "prompt")
    assert watched.told == [("WARN", "the safety checker refuses the video: nsfw 1.00")]
    assert not watched.inspection.checked


def test_a_prompt_is_shown_to_the_checkers_too():
    patterns = Checkers([PromptPatterns.parse("test", "terms")])
    with pytest.raises(ContentPolicyViolation) as raised:
        Watched(lambda: patterns).run()
    assert raised.value.loc == ("body", "prompt")


def test_any_of_several_checkers_refuses(red, build_classifier):
    blue = LazyChecker(of(build_classifier((-0.5, -0.5, 1.0)))).get()
    both = Checkers([red(), blue])
    for colour in (REDDISH, plain(20, 20, 230)):
        assert both.picture(colour).flagged
        assert both.frames(iter([GREY, colour])).flagged
    assert not both.frames(iter([GREY, GREY])).flagged


def test_without_a_checker_the_log_says_so():
    watched = Watched(LazyChecker(None).get)
    assert len(watched.run(video=(REDDISH,) * 25)) == 25
    assert watched.told == [("WARN", NO_CHECKER)]
    assert not watched.inspection.checked


def test_who_did_not_ask_is_not_checked():
    def load():
        raise AssertionError("loaded for nothing")

    watched = Watched(load, job=dataclasses.replace(JOB, check_safety=False))
    watched.run(pictures=(REDDISH,), video=(REDDISH,) * 25)
    assert (watched.told, watched.inspection.checked) == ([], False)


def test_it_stops_between_two_frames_when_it_is_told_to(red):
    asked = []

    def stops():
        asked.append(True)
        return len(asked) > 1

    watched = Watched(red, stops=stops)
    with pytest.raises(Interrupted):
        watched.run()
    assert len(asked) == 2
    assert not watched.inspection.checked


def test_a_checker_that_fails_refuses_without_blame(red):
    broken = plain(1, 2, 3)[..., :2]  # no such picture
    with pytest.raises(EngineError, match="the safety checker failed: ") as raised:
        Watched(red).run(pictures=(broken,))
    assert failed(raised.value).kind == "engine_error"


def test_too_few_frames_are_not_taken_for_checked(red):
    with pytest.raises(EngineError, match="fewer frames"):
        Watched(red).run(video=(GREY,) * 24)


def test_an_engines_own_error_is_not_the_checkers(red):
    def chunks():
        yield planar(GREY[None])
        raise EngineError("out of ideas")

    inspection = Watched(red).inspection
    inspection.admit({})
    with pytest.raises(EngineError, match=r"^out of ideas$"):
        list(inspection.watch(chunks()))


def test_a_checker_that_cannot_be_loaded_fails_every_work(tmp_path, red_classifier):
    folder = shutil.copytree(red_classifier, tmp_path / "classifier")
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    lazy = LazyChecker(of(folder))
    for _ in range(2):
        with pytest.raises(EngineError, match="the safety checker failed: ") as raised:
            Watched(lazy.get).run()
        assert str(tmp_path) not in raised.value.message


def test_weights_that_are_not_there_are_not_made_up(tmp_path, red_classifier):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(red_classifier, tmp_path / "classifier")
    weights = load_file(folder / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigurationError, match=r"lack classifier\.weight"):
        LazyChecker(of(folder)).get()


def test_scores_that_are_no_numbers_check_nothing(build_classifier):
    checker = LazyChecker(of(build_classifier(RED, at=float("nan")))).get()
    with pytest.raises(ValueError, match="not numbers"):
        checker.picture(GREY)


def test_the_score_is_that_of_any_refused_label(build_classifier):
    """Of labels that exclude each other the probabilities add up, of independent ones the greatest counts."""
    for problem, expected in (("single_label_classification", 2 / 3), ("multi_label_classification", 0.5)):
        folder = build_classifier(RED, at=0.0, labels=("normal", "porn", "nsfw"), problem=problem)
        checker = LazyChecker(of(folder, labels=("porn", "nsfw"))).get()
        score = checker.picture(plain(128, 128, 128)).score
        assert score == pytest.approx(expected, abs=0.02)
    assert LazyChecker(of(folder, labels=("nsfw",), threshold=score)).get().picture(plain(128, 128, 128)).flagged
    assert not LazyChecker(of(folder, labels=("nsfw",), threshold=0.6)).get().picture(plain(128, 128, 128)).flagged
