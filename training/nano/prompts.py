"""Prompts: a camera phrase somewhere in a text about something else, or none; or a text of what a video must not be."""

import random
from collections.abc import Sequence

from stillmotion.endpoints import ltx_2_3_22b_lora, ltx_2_3_quality, ltx_2_19b
from training.nano.moves import MOVES, SPEEDS
from training.nano.phrases import DETAILS, DOCUMENTED, PHRASES, PLACES, SPEED_WORDS, SUBJECTS, UNSEEN, VERBS

STATIC = MOVES.index("static")
SPEED_NAMES = tuple(SPEEDS)
NORMAL = SPEED_NAMES.index("normal")

NEGATIVE_PROMPT = "blurry, low quality, distorted"
"""What a bundle's manifest names as its negative prompt."""

_NEGATIVES = (
    NEGATIVE_PROMPT,
    ltx_2_19b.NEGATIVE_PROMPT,
    ltx_2_3_22b_lora.NEGATIVE_PROMPT,
    ltx_2_3_quality.NEGATIVE_PROMPT,
)
_LETTERS = "aeioubcdfghklmnprstvw"


def unseen(move: str) -> tuple[str, ...]:
    """The phrasings that are never trained on."""
    return tuple(_plain(phrase) for phrase in PHRASES[move][-UNSEEN:])


def with_camera(move: int, speed: int, chosen: random.Random) -> str:
    """A prompt that asks for the move, in one of the trained phrasings, alone or within a longer text."""
    phrase = _spoken(chosen.choice(PHRASES[MOVES[move]][:-UNSEEN]), SPEED_NAMES[speed], chosen)
    kind = chosen.random()
    if kind < 0.2:
        return _cased(phrase, chosen)
    if kind < 0.28:
        text = chosen.choice([text for text in DOCUMENTED if "{camera}" in text])
        return text.format(camera=phrase[0].upper() + phrase[1:])
    parts = [_scene(chosen) for _ in range(1 if chosen.random() < 0.6 else chosen.randint(2, 6))]
    parts.insert(chosen.randint(0, len(parts)), phrase)
    return _cased(_joined(parts, chosen), chosen)


def without_camera(chosen: random.Random) -> str:
    """A prompt that names no move, though it may say left or up of something else: the camera stands still."""
    if chosen.random() < 0.15:
        return chosen.choice([text for text in DOCUMENTED if "{camera}" not in text])
    return _cased(_joined([_scene(chosen) for _ in range(chosen.randint(1, 4))], chosen), chosen)


def negative(chosen: random.Random) -> str:
    """What users forbid. It goes with any move: guidance away from it must not push the camera anywhere."""
    text = chosen.choice(_NEGATIVES)
    if chosen.random() < 0.5:
        return text
    parts = text.split(", ")
    return ", ".join(chosen.sample(parts, min(len(parts), chosen.randint(2, 9))))


def joined(phrase: str, scene: str) -> str:
    """A phrase within a text, as the evaluation asks."""
    return f"{scene}. {phrase[0].upper()}{phrase[1:]}."


def corpus(count: int, chosen: random.Random) -> Sequence[str]:
    """Texts of all kinds, to make the tokenizer's vocabulary from."""
    texts = []
    for _ in range(count):
        move = chosen.randrange(len(MOVES))
        texts.append(with_camera(move, chosen.randrange(len(SPEEDS)), chosen))
        texts.append(chosen.choice((without_camera, negative))(chosen))
    return texts


def _plain(phrase: str) -> str:
    return " ".join(phrase.replace("[adv]", "").replace("[adj]", "").split())


def _spoken(phrase: str, speed: str, chosen: random.Random) -> str:
    """With a speed word where the phrase has room for one; static never has."""
    if speed == "normal":
        return _plain(phrase)
    adjectives, adverbs = SPEED_WORDS[speed]
    if "[adj]" not in phrase and "[adv]" not in phrase:
        return _plain(phrase) if "static" in phrase else f"{phrase} {chosen.choice(adverbs)}"
    return _plain(phrase.replace("[adj]", chosen.choice(adjectives)).replace("[adv]", chosen.choice(adverbs)))


def _scene(chosen: random.Random) -> str:
    kind = chosen.random()
    if kind < 0.12:  # names and things that no vocabulary has
        words = ("".join(chosen.choices(_LETTERS, k=chosen.randint(2, 9))) for _ in range(chosen.randint(1, 5)))
        return " ".join(words)
    if kind < 0.35:
        return chosen.choice(DETAILS)
    parts = [chosen.choice(SUBJECTS), chosen.choice(VERBS)]
    if chosen.random() < 0.7:
        parts.append(chosen.choice(PLACES))
    if chosen.random() < 0.3:
        parts.append(f"with {chosen.choice(SUBJECTS)}")
    return " ".join(parts)


def _joined(parts: Sequence[str], chosen: random.Random) -> str:
    separator = chosen.choice((", ", ". ", " ", "; ", ". ", ", "))
    text = separator.join(part[0].upper() + part[1:] if separator == ". " else part for part in parts)
    return text + chosen.choice(("", ".", "."))


def _cased(text: str, chosen: random.Random) -> str:
    kind = chosen.random()
    if kind < 0.1:
        return text.upper()
    return text[0].upper() + text[1:] if kind < 0.6 else text
