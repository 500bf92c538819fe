"""Guidance: which passes of the network a step needs, and how their clean estimates combine."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Literal

from torch import Tensor

from stillmotion.job import Guidance

Pass = Literal["conditional", "negative", "perturbed", "isolated"]
"""With the prompt; with the negative prompt; with one self-attention switched off; with the modalities apart."""


def weights(guidance: Guidance) -> dict[Pass, float]:
    """How strongly the estimate is pushed away from each pass; only those that count, nothing for neutral values."""
    terms: dict[Pass, float] = {
        "negative": guidance.cfg - 1,
        "perturbed": guidance.stg,
        "isolated": guidance.modality - 1,
    }
    return {name: weight for name, weight in terms.items() if weight}


def needed(video: Guidance, audio: Guidance) -> frozenset[Pass]:
    """The passes that a step needs. One pass gives both modalities: it runs where either asks for it."""
    return frozenset[Pass](("conditional", *weights(video), *weights(audio)))


def without(guidance: Guidance, dropped: Collection[Pass]) -> Guidance:
    """``guidance`` with the terms of the ``dropped`` passes neutral."""
    neutral = {"negative": {"cfg": 1.0}, "perturbed": {"stg": 0.0}, "isolated": {"modality": 1.0}}
    return replace(guidance, **{field: value for name in dropped for field, value in neutral[name].items()})


def combine(estimates: Mapping[Pass, Tensor], guidance: Guidance) -> Tensor:
    """The guided clean estimate of one modality, from those of the passes that it needs, in fp32.

    ``g = c + (cfg-1)(c-u) + stg(c-s) + (modality-1)(c-d)``, then ``g (rescale std(c)/std(g) + 1 - rescale)`` with the
    deviations over all tokens and channels, held tokens included (Ho and Salimans 2022; Hyung et al. 2024; Lin et al.
    2023, section 3.4). Without an active term it is ``c`` itself, whatever ``rescale`` says.
    """
    conditional = estimates["conditional"]
    active = weights(guidance)
    if not active:
        return conditional
    guided = conditional
    for name, weight in active.items():
        guided = guided + weight * (conditional - estimates[name])
    if guidance.rescale:
        ratio = conditional.std() / guided.std()
        guided = guided * (guidance.rescale * ratio + 1 - guidance.rescale)
    return guided
