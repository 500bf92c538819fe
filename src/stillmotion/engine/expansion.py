"""The bundle's text model asked in words and pictures: how a prompt is expanded without a second model."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoProcessor, StoppingCriteria, StoppingCriteriaList

from stillmotion.engine.sampler import Stopped

Picture = npt.NDArray[np.uint8]

CACHED_REPLIES = 64
"""A reply costs seconds to make and some kilobytes to keep."""
_PROCESSOR_FOLDERS = ("processor", "tokenizer", "text_encoder")
_PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model wrote."""

    text: str
    complete: bool
    """False: it was cut off by the limit of tokens or of time."""


class ChatModel:
    """A Gemma 3 with its head, its tokenizer, and the processor that pictures need (``None``: it sees none).

    Not to be shared between threads.
    """

    def __init__(self, text_encoder: Any, tokenizer: Any, processor: Any = None) -> None:
        self._model, self._tokenizer, self._processor = text_encoder, tokenizer, processor
        self._template: str | None = getattr(processor, "chat_template", None) or tokenizer.chat_template
        self._replies: OrderedDict[tuple[str, str, int, bytes], Reply] = OrderedDict()

    @property
    def sees(self) -> bool:
        """Whether ``reply`` looks at the picture it is given."""
        return self._processor is not None and self._template is not None

    def reply(
        self,
        instructions: str,
        prompt: str,
        picture: Picture | None = None,
        *,
        seed: int,
        should_stop: Callable[[], bool],
        max_tokens: int = 512,
        temperature: float = 0.7,
        seconds: float = 60.0,
    ) -> Reply:
        """The answer to ``prompt`` and to ``picture``, upright RGB (rows, columns, 3), under ``instructions``.

        The same arguments give the same reply, unless ``seconds`` cut it short; the global random state is as it was
        before. Raises ``Stopped`` when ``should_stop()`` is true between two tokens, and whatever the model's libraries
        raise.
        """
        if not self.sees:
            picture = None
        key = (instructions, prompt, seed, _digest(picture))
        if key in self._replies:
            self._replies.move_to_end(key)
            return self._replies[key]
        limit = _Limit(time.monotonic() + seconds, should_stop)
        reply = self._write(self._read(instructions, prompt, picture), seed, limit, max_tokens, temperature)
        if limit.stopped:
            raise Stopped
        if not limit.late:  # how far it came in its time is chance
            self._replies[key] = reply
            if len(self._replies) > CACHED_REPLIES:
                self._replies.popitem(last=False)
        return reply

    def _read(self, instructions: str, prompt: str, picture: Picture | None) -> Any:
        """The model's input: token ids (1, tokens), and the picture's values where there is one."""
        if self._template is None:
            read = self._tokenizer(f"{instructions}\n\nRequest: {prompt}\n\nParagraph:", return_tensors="pt")
            return read.to(self._model.device)
        content: list[dict[str, Any]] = [{"type": "text", "text": prompt}]
        if picture is not None:
            content.insert(0, {"type": "image", "image": Image.fromarray(picture)})
        read = (self._tokenizer if picture is None else self._processor).apply_chat_template(
            [
                {"role": "system", "content": [{"type": "text", "text": instructions}]},
                {"role": "user", "content": content},
            ],
            chat_template=self._template,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        return read.to(self._model.device)

    def _write(self, read: Any, seed: int, limit: "_Limit", max_tokens: int, temperature: float) -> Reply:
        ends = self._ends()
        with torch.no_grad(), _own_randomness(seed, self._model.device):
            tokens: Tensor = self._model.generate(
                **read,
                do_sample=True,
                temperature=temperature,
                top_k=64,  # with top_p what Gemma 3 is published with
                top_p=0.95,
                max_new_tokens=max_tokens,
                eos_token_id=ends,
                pad_token_id=self._tokenizer.pad_token_id,
                stopping_criteria=StoppingCriteriaList([limit]),
            )
        written = tokens[0, read.input_ids.shape[1] :].tolist()
        complete = bool(written) and written[-1] in ends
        if complete:
            written.pop()
        return Reply(self._tokenizer.decode(written, skip_special_tokens=True), complete)

    def _ends(self) -> list[int]:
        """Tokens that end a reply. A text encoder's configuration may lack the one that ends a turn."""
        known = self._model.generation_config.eos_token_id
        ends = list(known) if isinstance(known, list) else [known]
        ends += [self._tokenizer.eos_token_id, self._tokenizer.get_vocab().get("<end_of_turn>")]
        return sorted({end for end in ends if end is not None})


def load_processor(bundle: Path) -> Any | None:
    """What turns pictures into the text model's input, where the bundle has it and it can be used; else ``None``."""
    for folder in (bundle / name for name in _PROCESSOR_FOLDERS):
        if not any((folder / name).is_file() for name in _PROCESSOR_FILES):
            continue
        try:
            processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
        except Exception:  # the library raises whatever it likes; without the processor the model reads words alone
            return None
        return processor if hasattr(processor, "image_processor") else None
    return None


class _Limit(StoppingCriteria):  # type: ignore[misc]  # transformers has no types
    """Ends the writing after a token, at a time (of ``time.monotonic``) or when it is not wanted any more."""

    def __init__(self, deadline: float, should_stop: Callable[[], bool]) -> None:
        self._deadline, self._should_stop = deadline, should_stop
        self.late = self.stopped = False

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        self.stopped = self._should_stop()
        self.late = time.monotonic() > self._deadline
        return torch.full((len(input_ids),), self.stopped or self.late, device=input_ids.device)


@contextmanager
def _own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers from ``seed`` on the CPU and on ``device``; ``generate`` takes no generator of its own."""
    forked = [] if device.type == "cpu" else [device.index or 0]
    with torch.random.fork_rng(devices=forked, device_type=device.type):
        # Not torch.manual_seed, which seeds every device there is and would leave the others changed.
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            torch.cuda.default_generators[forked[0]].manual_seed(seed)
        elif device.type == "mps":
            torch.mps.manual_seed(seed)
        yield


def _digest(picture: Picture | None) -> bytes:
    if picture is None:
        return b""
    return hashlib.sha256(repr(picture.shape).encode() + picture.tobytes()).digest()
