"""Which checkers a server has, from the operator's words; and what is refused at start."""

import json
import shutil
from pathlib import Path

import pytest
from colour_classifier import RED

from stillmotion.errors import ConfigurationError
from stillmotion.safety.configuration import (
    FLAGGED_LABELS,
    Checks,
    Classifier,
    check_exposure,
    choose_checks,
    flagged_labels,
)
from stillmotion.settings import Settings


def test_without_anything_installed_nothing_is_checked(tmp_path):
    assert choose_checks("auto", tmp_path, engine=True) == Checks()


def test_the_recommended_classifier_is_used_where_it_is_installed(tmp_path, red_classifier):
    installed = tmp_path / "nsfw_image_detection"
    shutil.copytree(red_classifier, installed)
    found = choose_checks("auto", tmp_path, engine=True)
    assert found == Checks(pictures=Classifier(folder=str(installed), labels=("nsfw",), threshold=0.5))
    assert choose_checks("required", tmp_path, engine=True) == found
    assert choose_checks("off", tmp_path, engine=True) == Checks()
    assert choose_checks("auto", tmp_path, engine=False) == Checks()


@pytest.mark.parametrize("engine", [True, False])
def test_required_pictures_without_a_classifier_are_refused(tmp_path, engine):
    with pytest.raises(ConfigurationError, match="needs a classifier"):
        choose_checks("required", tmp_path, engine=engine)


def test_a_model_is_found_below_the_models_or_by_its_path(tmp_path, red_classifier):
    shutil.copytree(red_classifier, tmp_path / "mine")
    for name in ("mine", str(red_classifier)):
        chosen = choose_checks("auto", tmp_path, engine=True, model=name, threshold=0.9, device="cuda")
        assert chosen.pictures
        assert (chosen.pictures.threshold, chosen.pictures.device) == (0.9, "cuda")
    with pytest.raises(ConfigurationError, match="no folder 'other'"):
        choose_checks("auto", tmp_path, engine=True, model="other")


def test_terms_are_read_whatever_the_engine(tmp_path):
    (tmp_path / "terms").write_text("naked\n")
    chosen = choose_checks("auto", tmp_path, engine=False, terms=tmp_path / "terms")
    assert chosen.prompts
    assert chosen.prompts.prompt("naked").flagged
    with pytest.raises(ConfigurationError, match="cannot be read"):
        choose_checks("auto", tmp_path, engine=True, terms=tmp_path / "absent")


def test_labels(build_classifier):
    five = build_classifier(RED, labels=("drawings", "Hentai", "neutral", "Porn", "sexy"))
    assert flagged_labels(five) == ("Hentai", "Porn")
    assert flagged_labels(five, ["SEXY", "porn"]) == ("Porn", "sexy")
    with pytest.raises(ConfigurationError, match="labels drawings, Hentai, neutral, Porn, sexy, not nsfw"):
        flagged_labels(five, ["porn", "nsfw"])
    unnamed = build_classifier(RED, labels=("LABEL_0", "LABEL_1"))
    with pytest.raises(ConfigurationError, match="LABEL_0, LABEL_1; say which"):
        flagged_labels(unnamed)
    assert flagged_labels(unnamed, ["label_1"]) == ("LABEL_1",)


@pytest.mark.parametrize(
    ("lacks", "told"),
    [
        ("config.json", "has no config.json"),
        ("preprocessor_config.json", "has no preprocessor_config.json"),
        ("model.safetensors", "no safetensors weights"),
    ],
)
def test_a_folder_that_is_no_classifier_is_refused(tmp_path, red_classifier, lacks, told):
    folder = shutil.copytree(red_classifier, tmp_path / "classifier")
    (folder / lacks).unlink()
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ConfigurationError, match=told):
        choose_checks("auto", tmp_path, engine=True, model="classifier")


@pytest.mark.parametrize("config", ["{", "[]", "{}", json.dumps({"model_type": "vit", "id2label": 7})])
def test_a_model_without_labels_is_refused(tmp_path, red_classifier, config):
    folder = shutil.copytree(red_classifier, tmp_path / "classifier")
    (folder / "config.json").write_text(config)
    with pytest.raises(ConfigurationError, match="does not tell"):
        flagged_labels(folder)


def test_a_server_for_others_needs_a_checker_or_the_word_off():
    some = Checks(pictures=Classifier(folder="/models/x", labels=("nsfw",), threshold=0.5))
    for mode in ("auto", "off", "required"):
        check_exposure(mode, Checks(), loopback=True)
        check_exposure(mode, some, loopback=False)
    check_exposure("off", Checks(), loopback=False)
    with pytest.raises(ConfigurationError, match='safety = "off"'):
        check_exposure("auto", Checks(), loopback=False)


def test_settings():
    settings = Settings.load(safety="required", safety_labels="nsfw, sexy", safety_threshold=0.25)
    assert (settings.safety, settings.safety_labels, settings.safety_threshold) == ("required", ("nsfw", "sexy"), 0.25)
    for wrong in ({"safety": "on"}, {"safety_threshold": 0}, {"safety_threshold": 1.5}):
        with pytest.raises(ConfigurationError):
            Settings.load(**wrong)


def test_the_page_names_every_label_that_is_refused_by_default():
    page = (Path(__file__).parents[2] / "docs/safety.md").read_text()
    assert sorted(label for label in FLAGGED_LABELS if f"`{label}`" not in page) == []
