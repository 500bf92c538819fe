"""Classifier-free guidance: which passes of the network a step needs, and how their predictions combine."""

from torch import Tensor

from stillmotion.job import Guidance


def needs_negative(*guidances: Guidance) -> bool:
    """Whether any modality needs the pass with the negative prompt. One pass serves all: the model is joint."""
    return any(guidance.cfg != 1 for guidance in guidances)


def combine(positive: Tensor, negative: Tensor, guidance: Guidance) -> Tensor:
    """The guided clean estimate ``p + (cfg - 1) (p - n)`` (Ho and Salimans 2022, equation 6, in x0 space).

    ``positive`` and ``negative`` are clean estimates in fp32 from the pass with the prompt and with the negative
    prompt. ``cfg=1`` gives ``positive``.
    """
    return positive + (guidance.cfg - 1) * (positive - negative)
