"""Pictures and frames by an image classifier: any folder that transformers can load one from. Imports torch."""

import math
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Self

import torch
from torch import Tensor
from transformers import AutoImageProcessor, AutoModelForImageClassification
from transformers.utils import logging

from stillmotion.errors import ConfigurationError
from stillmotion.safety.checker import PASSED, Picture, Verdict
from stillmotion.safety.configuration import Classifier

BATCH = 4
"""Frames that are looked at together: what a frame is resized from must not be in memory sixteen times."""


class ImageClassifier:
    """A checker of pictures; prompts pass.

    The score is the probability that the picture has one of the refused labels: for labels that exclude each other
    their sum, for a model of several labels at once the greatest.
    """

    def __init__(self, model: Any, processor: Any, classifier: Classifier) -> None:
        self._model, self._processor = model, processor
        self._threshold, self._device = classifier.threshold, torch.device(classifier.device)
        self._labels = {index: label for index, label in model.config.id2label.items() if label in classifier.labels}
        self._exclusive = model.config.problem_type != "multi_label_classification"

    @classmethod
    def load(cls, classifier: Classifier) -> Self:
        """Reads local files alone, weights from safetensors alone, and runs no code of the model's.

        Raises ConfigurationError for weights that do not fit, and what transformers raises.
        """
        shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            processor = AutoImageProcessor.from_pretrained(
                classifier.folder, local_files_only=True, trust_remote_code=False, backend="pil"
            )
            model, loading = AutoModelForImageClassification.from_pretrained(
                classifier.folder,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
        finally:
            if shown:
                logging.enable_progress_bar()
        # Weights that are not there would be random ones, and a random checker checks nothing.
        if lacking := sorted(map(str, (*loading["missing_keys"], *loading["mismatched_keys"]))):
            raise ConfigurationError(f"the weights in {classifier.folder} lack {', '.join(lacking[:3])}")
        return cls(model.eval().to(classifier.device), processor, classifier)

    def prompt(self, text: str) -> Verdict:
        return PASSED

    def picture(self, rgb: Picture) -> Verdict:
        return self.frames([rgb])

    def frames(self, frames: Iterable[Picture]) -> Verdict:
        worst = PASSED
        remaining = iter(frames)
        while batch := list(islice(remaining, BATCH)):
            worst = max((worst, *self._verdicts(batch)), key=lambda verdict: (verdict.flagged, verdict.score))
            if worst.flagged:
                break
        return worst

    @torch.inference_mode()
    def _verdicts(self, pictures: list[Picture]) -> Iterator[Verdict]:
        inputs = self._processor(images=pictures, return_tensors="pt", input_data_format="channels_last")
        logits = self._model(**inputs.to(self._device)).logits.double()
        scores = logits.softmax(dim=1) if self._exclusive else logits.sigmoid()
        return map(self._verdict, scores[:, list(self._labels)].cpu())

    def _verdict(self, scores: Tensor) -> Verdict:
        """Of one picture, from the scores of the refused labels."""
        score = float(scores.sum() if self._exclusive else scores.max())
        if math.isnan(score):
            raise ValueError("the classifier's scores are not numbers")
        label = list(self._labels.values())[int(scores.argmax())]
        return Verdict(flagged=score >= self._threshold, label=label, score=score)
