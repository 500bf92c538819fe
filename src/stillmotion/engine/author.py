"""The bundle's text model as an author of prompts, wherever its weights wait."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stillmotion.engine.components import Components
from stillmotion.engine.expansion import ChatModel, Picture, Reply, load_processor
from stillmotion.engine.manifest import Manifest


class Author:
    """A ``ChatModel`` that ``bring`` brings to its device before it writes."""

    def __init__(self, chat: ChatModel, bring: Callable[[], None]) -> None:
        self._chat, self._bring = chat, bring

    @property
    def sees(self) -> bool:
        """As ``ChatModel.sees``."""
        return self._chat.sees

    def reply(self, instructions: str, prompt: str, picture: Picture | None = None, **options: Any) -> Reply:
        """As ``ChatModel.reply``, with its keywords."""
        self._bring()
        return self._chat.reply(instructions, prompt, picture, **options)


def make_author(folder: Path, manifest: Manifest, components: Components, bring: Callable[[], None]) -> Author | None:
    """``None`` where the text model came without the head for it."""
    if not manifest.can_expand_prompts:
        return None
    return Author(ChatModel(components.text_encoder, components.tokenizer, load_processor(folder)), bring)
