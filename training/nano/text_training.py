"""Training of the text side by itself: to say which move, and how fast, a prompt asks for.

In minutes it is far better at reading than it would become in hours as a part of the whole: texts are small beside
videos. The transformer then learns what the embeddings mean; the connectors go on learning with it.
"""

import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from training.nano import prompts, text
from training.nano.loop import Phase, Segment, averaged
from training.nano.moves import MOVES, SPEEDS

NAME = "text"
_SEED = 81_000_000
_BATCH = 32
_LENGTH_SHARES = (0.75, 0.15, 0.08, 0.02)
ANY = len(MOVES)
"""The class of texts that say nothing about the camera because they are what a video must not be."""


def build_tokenizer(folder: Path, seed: int) -> None:
    text.build_tokenizer(seed).save_pretrained(folder / "tokenizer")


def load_tokenizer(folder: Path) -> Any:
    return PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")


def load_encoder(folder: Path, seed: int) -> Any:
    encoder = text.build_encoder(load_tokenizer(folder), seed)
    if (folder / f"{NAME}.pt").exists():
        encoder.load_state_dict(averaged(folder, NAME, "encoder"))
    return encoder.eval().requires_grad_(False)


def load_connectors(folder: Path, seed: int) -> Any:
    """As this phase left them."""
    connectors = text.build_connectors(seed)
    if (folder / f"{NAME}.pt").exists():
        connectors.load_state_dict(averaged(folder, NAME, "connectors"))
    return connectors


class Reader(nn.Module):
    """The move and speed that embeddings tell, read from their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.move = nn.Linear(text.WIDTH, ANY + 1)
        self.speed = nn.Linear(text.WIDTH, len(SPEEDS))

    def forward(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        mean = embeddings.mean(1)
        return self.move(mean), self.speed(mean)


def asked(chosen: random.Random) -> tuple[str, int, int]:
    """A prompt with the class of its move and its speed."""
    kind = chosen.random()
    if kind < 0.72:
        move = chosen.randrange(len(MOVES))
        speed = prompts.NORMAL if MOVES[move] == "static" else chosen.choice((0, 1, 1, 2))
        return prompts.with_camera(move, speed, chosen), move, speed
    if kind < 0.9:
        return prompts.without_camera(chosen), prompts.STATIC, prompts.NORMAL
    if kind < 0.92:
        return "", prompts.STATIC, prompts.NORMAL
    return prompts.negative(chosen), ANY, prompts.NORMAL


def pick_length(chosen: random.Random, shares: tuple[float, ...] = _LENGTH_SHARES) -> int:
    return chosen.choices(text.LENGTHS, shares)[0]


def phase(folder: Path, seed: int) -> Phase:
    tokenizer = load_tokenizer(folder)
    encoder, connectors = text.build_encoder(tokenizer, seed), text.build_connectors(seed)
    torch.manual_seed(seed + 1)
    reader = Reader()
    for part in (encoder.model.vision_tower, encoder.model.multi_modal_projector):
        part.requires_grad_(False)
    modules = {"encoder": encoder, "connectors": connectors, "reader": reader}
    parameters = [p for module in modules.values() for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)

    def step(number: int, segment: Segment) -> dict[str, Tensor | float]:
        chosen = random.Random(f"{seed} {_SEED} {number}")
        length = pick_length(chosen)
        batch = [asked(chosen) for _ in range(_BATCH if length <= 128 else 8)]
        wanted_move = torch.tensor([move for _, move, _ in batch])
        wanted_speed = torch.tensor([speed for _, _, speed in batch])
        loss, right = torch.zeros(()), 0.0
        for embeddings in text.embed(tokenizer, encoder, connectors, [prompt for prompt, _, _ in batch], length):
            move, speed = reader(embeddings)
            loss = (
                loss + functional.cross_entropy(move, wanted_move) + 0.5 * functional.cross_entropy(speed, wanted_speed)
            )
            right += float((move.argmax(1) == wanted_move).float().mean()) / 2
        torch.autograd.backward(loss)
        return {"loss": loss.detach(), "right": right}

    return Phase(NAME, modules, [optimizer], step, decay=0.99)


@torch.no_grad()
def read(folder: Path, seed: int, texts: list[str], length: int) -> list[str]:
    """The move that the trained text side reads in each text; "any" for what a video must not be."""
    tokenizer, encoder, connectors = load_tokenizer(folder), load_encoder(folder, seed), load_connectors(folder, seed)
    reader = Reader()
    reader.load_state_dict(averaged(folder, NAME, "reader"))
    video, _ = text.embed(tokenizer, encoder, connectors.eval(), texts, length)
    return [(*MOVES, "any")[int(index)] for index in reader(video)[0].argmax(1)]
