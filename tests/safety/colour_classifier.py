"""Image classifiers whose weights are set so that a colour decides, and nothing else."""

from collections.abc import Mapping
from typing import Any

import numpy as np

RED = (1.0, -0.5, -0.5)
NOT_GREEN = (0.5, -1.0, 0.5)


def plain(red: int, green: int, blue: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """A picture of one colour."""
    return np.full((*size, 3), (red, green, blue), np.uint8)


def colour_classifier(
    colour: tuple[float, float, float], at: float, labels: Mapping[int, str], problem: str | None
) -> Any:
    """A ViT whose last label scores ``sigmoid(20 * (x - at))``, where ``x`` (-1 to 1) rises with the mean of the
    normalised pixels along ``colour``: 0 for grey, about 1 for the colour itself.

    A patch becomes (r, -r, 1, -1), which layer normalisation only scales; attention is uniform, so the class token
    gets the mean over the patches; the rest of the network is zero.
    """
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        image_size=16,
        patch_size=8,
        hidden_size=4,
        intermediate_size=4,
        num_hidden_layers=1,
        num_attention_heads=1,
        id2label=dict(labels),
        label2id={label: index for index, label in labels.items()},
        problem_type=problem,
    )
    model = ViTForImageClassification(config)
    constant = torch.tensor([0.0, 0.0, 1.0, -1.0])
    along = torch.tensor([1.0, -1.0, 0.0, 0.0])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if name.endswith("weight") and "layernorm" in name else 0.0)
        embeddings = model.vit.embeddings
        embeddings.position_embeddings.copy_(constant.expand_as(embeddings.position_embeddings))
        pixels = torch.tensor(colour).view(1, 3, 1, 1).expand(4, 3, 8, 8) / 64
        embeddings.patch_embeddings.projection.weight.copy_(along.view(4, 1, 1, 1) * pixels)
        for name, parameter in model.named_parameters():
            if name.endswith(("value.weight", "v_proj.weight", "attention.output.dense.weight", "o_proj.weight")):
                parameter.copy_(torch.diag(along.abs()))
        model.classifier.weight[-1, 0] = 20.0
        model.classifier.bias[-1] = -20.0 * at
    return model
