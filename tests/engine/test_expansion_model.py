"""The bundle's text model as an author: bounded, repeatable, and without a trace in the global random state.

The tiny model's weights are random, so what it writes is noise; that it writes, from what and for how long is real.
"""

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import AutoTokenizer, Gemma3ImageProcessorPil, Gemma3Processor

from stillmotion.engine.components import Components
from stillmotion.engine.expansion import ChatModel, Reply, load_processor
from stillmotion.engine.sampler import Stopped
from stillmotion.job import Family

Picture = npt.NDArray[np.uint8]
INSTRUCTIONS, PROMPT = "Rewrite it.", "a robot dancing in the rain"
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<{{ message['role'] }}>{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<start_of_image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}<model>{% endif %}"
)


def never() -> bool:
    return False


def after(calls: int) -> Callable[[], bool]:
    """A wish to stop that comes with the ``calls``-th question."""
    count = itertools.count(1)
    return lambda: next(count) >= calls


@pytest.fixture(scope="session")
def text_model(loaded: Mapping[Family, Components]) -> Components:
    return loaded["ltx-2.3"]


@pytest.fixture
def chat(text_model: Components) -> ChatModel:
    return ChatModel(text_model.text_encoder, text_model.tokenizer)


@pytest.fixture(scope="session")
def seeing_bundle(bundles: Mapping[Family, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle's tokenizer folder as published ones have it: with a chat template and an image processor."""
    bundle = tmp_path_factory.mktemp("seeing")
    tokenizer = AutoTokenizer.from_pretrained(
        bundles["ltx-2.3"] / "tokenizer",
        extra_special_tokens={
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
            "image_token": "<image_soft_token>",
        },
    )
    images = Gemma3ImageProcessorPil(size={"height": 28, "width": 28})
    Gemma3Processor(images, tokenizer, chat_template=TEMPLATE, image_seq_length=4).save_pretrained(bundle / "tokenizer")
    return bundle


@pytest.fixture
def seeing(text_model: Components, seeing_bundle: Path) -> ChatModel:
    tokenizer = AutoTokenizer.from_pretrained(seeing_bundle / "tokenizer")
    return ChatModel(text_model.text_encoder, tokenizer, load_processor(seeing_bundle))


def test_a_reply_is_bounded_by_tokens_and_says_that_it_was_cut(chat: ChatModel, text_model: Components) -> None:
    reply = chat.reply(INSTRUCTIONS, PROMPT, seed=1, should_stop=never, max_tokens=24)
    assert reply.text
    assert len(text_model.tokenizer(reply.text, add_special_tokens=False).input_ids) <= 3 * 24  # U+FFFD is three bytes
    assert not reply.complete


@pytest.mark.parametrize("end", ["<eos>", "<end_of_turn>"])
def test_a_reply_that_ends_by_itself_is_complete(
    text_model: Components, bundles: Mapping[Family, Path], tmp_path: Path, end: str
) -> None:
    """The head is made to write "ok" and a last token; of the one that ends a turn the configuration knows nothing."""
    for file in (bundles["ltx-2.3"] / "tokenizer").iterdir():
        (tmp_path / file.name).write_text(file.read_text().replace("<end_of_image>", "<end_of_turn>"))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    script = iter(tokenizer.convert_tokens_to_ids(["o", "k", end]))

    def dictate(module: object, arguments: object, logits: torch.Tensor) -> torch.Tensor:
        return logits.index_fill(-1, torch.tensor([next(script)]), 1e4)

    hook = text_model.text_encoder.lm_head.register_forward_hook(dictate)
    try:
        chat = ChatModel(text_model.text_encoder, tokenizer)
        reply = chat.reply(INSTRUCTIONS, PROMPT, seed=1, should_stop=never, max_tokens=8)
    finally:
        hook.remove()
    assert reply == Reply("ok", complete=True)


def test_the_same_arguments_give_the_same_reply_and_each_of_them_counts(
    text_model: Components, seeing_bundle: Path, picture: Picture
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(seeing_bundle / "tokenizer")
    processor = load_processor(seeing_bundle)

    def write(
        instructions: str = INSTRUCTIONS, prompt: str = PROMPT, image: Picture | None = picture, seed: int = 5
    ) -> str:
        # A new one each time: what another remembers is no evidence.
        chat = ChatModel(text_model.text_encoder, tokenizer, processor)
        return chat.reply(instructions, prompt, image, seed=seed, should_stop=never, max_tokens=16).text

    assert write() == write()
    others = {
        write(instructions="Rewrite."),
        write(prompt="a lighthouse"),
        write(image=None),
        write(seed=6),
    }
    assert len(others | {write()}) == 5


def test_the_global_random_state_is_neither_read_nor_changed(text_model: Components) -> None:
    replies = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        chat = ChatModel(text_model.text_encoder, text_model.tokenizer)
        replies.append(chat.reply(INSTRUCTIONS, PROMPT, seed=9, should_stop=never, max_tokens=16))
        assert torch.equal(torch.get_rng_state(), state)
    assert replies[0] == replies[1]


def test_the_random_state_is_put_back_after_a_failure_too(chat: ChatModel) -> None:
    state = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        chat.reply(INSTRUCTIONS, PROMPT, seed=9, should_stop=lambda: 1 // 0 == 0)
    assert torch.equal(torch.get_rng_state(), state)


def test_stops_between_two_tokens(chat: ChatModel) -> None:
    asked = after(3)
    with pytest.raises(Stopped):
        chat.reply(INSTRUCTIONS, PROMPT, seed=1, should_stop=asked)
    reply = chat.reply(INSTRUCTIONS, PROMPT, seed=1, should_stop=never, max_tokens=4)
    assert reply.text  # what was stopped was not remembered


def test_time_that_is_up_ends_the_reply_and_is_not_remembered(chat: ChatModel) -> None:
    short = chat.reply(INSTRUCTIONS, PROMPT, seed=1, should_stop=never, seconds=0.0, max_tokens=16)
    assert not short.complete
    whole = chat.reply(INSTRUCTIONS, PROMPT, seed=1, should_stop=never, max_tokens=16)
    assert whole.text.startswith(short.text.rstrip("\ufffd"))
    assert len(whole.text) > len(short.text)


def test_a_reply_is_remembered(chat: ChatModel, text_model: Components) -> None:
    calls = []
    handle = text_model.text_encoder.register_forward_pre_hook(lambda module, arguments: calls.append(1))
    try:
        first = chat.reply(INSTRUCTIONS, PROMPT, seed=1, should_stop=never, max_tokens=4)
        made = len(calls)
        assert made == 4
        assert chat.reply(INSTRUCTIONS, PROMPT, seed=1, should_stop=never, max_tokens=4) == first
        assert len(calls) == made
        chat.reply(INSTRUCTIONS, PROMPT, seed=2, should_stop=never, max_tokens=4)
        assert len(calls) > made
    finally:
        handle.remove()


def test_a_picture_is_read_as_the_processor_says(seeing: ChatModel, text_model: Components, picture: Picture) -> None:
    told: list[str] = []
    seen: list[torch.Tensor] = []
    model = text_model.text_encoder.model
    hooks = [
        model.get_input_embeddings().register_forward_pre_hook(
            lambda module, arguments: told.append(text_model.tokenizer.decode(arguments[0][0].tolist()))
        ),
        model.vision_tower.register_forward_pre_hook(
            lambda module, arguments, named: seen.append(named["pixel_values"]), with_kwargs=True
        ),
    ]
    try:
        for pixels in (picture, 255 - picture, picture):
            seeing.reply(INSTRUCTIONS, PROMPT, pixels, seed=1, should_stop=never, max_tokens=1)
    finally:
        for hook in hooks:
            hook.remove()
    image = "\n\n<start_of_image>" + 4 * "<image_soft_token>" + "<end_of_image>\n\n"
    assert told[0] == f"<bos><system>{INSTRUCTIONS}<user>{image}{PROMPT}<model>"
    values, negative = seen  # the third is remembered
    assert values.shape == (1, 3, 28, 28)
    assert values.std() > 0.1
    torch.testing.assert_close(negative, -values, rtol=0, atol=0.01)


def test_without_a_processor_the_picture_is_left_out(chat: ChatModel, picture: Picture) -> None:
    assert not chat.sees
    with_picture = chat.reply(INSTRUCTIONS, PROMPT, picture, seed=1, should_stop=never, max_tokens=8)
    assert with_picture == chat.reply(INSTRUCTIONS, PROMPT, seed=1, should_stop=never, max_tokens=8)


def test_a_bundle_without_a_usable_processor_has_none(bundles: Mapping[Family, Path], tmp_path: Path) -> None:
    assert load_processor(bundles["ltx-2.3"]) is None
    (tmp_path / "text_encoder").mkdir()
    (tmp_path / "text_encoder" / "preprocessor_config.json").write_text("{")
    assert load_processor(tmp_path) is None


def test_a_published_processor_is_found(seeing: ChatModel) -> None:
    assert seeing.sees
