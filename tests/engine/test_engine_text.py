"""Embeddings of prompts: made once, remembered up to a number of bytes, and the same either way."""

import pytest
import torch

from stillmotion.engine.components import Components
from stillmotion.engine.text import CACHE_BYTES, Embedding, TextEmbedder, encode

LENGTH = 256
PROMPT, NEGATIVE = "a robot dancing in the rain", "blurry"


class Counted:
    """A network that says how often it was called; everything else is its own."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.calls = 0
        self._handle = network.register_forward_pre_hook(self._count)

    def _count(self, module: object, arguments: object) -> None:
        self.calls += 1


@pytest.fixture(autouse=True)
def _no_gradients() -> None:
    with torch.inference_mode():
        yield


@pytest.fixture
def passes(components: Components) -> Counted:
    """Passes through the text encoder."""
    counted = Counted(components.text_encoder.model)
    yield counted
    counted._handle.remove()


def embedder(components: Components, cache_bytes: int = CACHE_BYTES) -> TextEmbedder:
    return TextEmbedder(
        tokenizer=components.tokenizer,
        text_encoder=components.text_encoder,
        connectors=components.connectors,
        max_sequence_length=LENGTH,
        cache_bytes=cache_bytes,
    )


def encoded(components: Components, text: str) -> Embedding:
    return encode(
        text,
        tokenizer=components.tokenizer,
        text_encoder=components.text_encoder,
        connectors=components.connectors,
        max_sequence_length=LENGTH,
    )


def same(left: Embedding, right: Embedding) -> bool:
    return torch.equal(left.video, right.video) and torch.equal(left.audio, right.audio)


@pytest.mark.parametrize("text", ["", PROMPT, "a robot " * 100, "ein Käfer 🐞 läuft"])
def test_made_remembered_and_encoded_alone_are_the_same_bits(
    components: Components, passes: Counted, text: str
) -> None:
    embed, alone = embedder(components), encoded(components, text)
    made = embed.embed(text)
    assert passes.calls == 2
    remembered = embed.embed(text)
    assert passes.calls == 2
    assert same(made, alone)
    assert same(remembered, alone)
    assert made.video.shape[:2] == made.audio.shape[:2] == (1, LENGTH)
    assert torch.isfinite(made.video).all()


def test_one_text_at_a_time_is_what_a_batch_of_two_gives(components: Components) -> None:
    tokens = components.tokenizer(
        [PROMPT, NEGATIVE], padding="max_length", padding_side="left", max_length=LENGTH, return_tensors="pt"
    )
    states = components.text_encoder.model(**tokens, output_hidden_states=True).hidden_states
    video, audio, mask = components.connectors(torch.stack(states, dim=-1), tokens.attention_mask, padding_side="left")
    for index, text in enumerate((PROMPT, NEGATIVE)):
        alone = encoded(components, text)
        torch.testing.assert_close(video[index : index + 1], alone.video, rtol=0, atol=1e-5)
        torch.testing.assert_close(audio[index : index + 1], alone.audio, rtol=0, atol=1e-5)
    assert (mask == 1).all()  # why the network gets no mask


def test_the_space_around_a_text_makes_no_difference(components: Components, passes: Counted) -> None:
    embed = embedder(components)
    first = embed.embed(PROMPT)
    assert embed.holds(f"\n {PROMPT} ")
    assert same(first, embed.embed(f"\n {PROMPT} "))
    assert passes.calls == 1


def test_other_weights_of_the_connectors_give_another_embedding(components: Components, passes: Counted) -> None:
    embed = embedder(components)
    weight = next(components.connectors.parameters())
    before = embed.embed(PROMPT, connectors_key="")
    pristine = weight.clone()
    weight.mul_(1.5)
    try:
        assert not embed.holds(PROMPT, connectors_key=("style", 0.5))
        merged = embed.embed(PROMPT, connectors_key=("style", 0.5))
    finally:
        weight.copy_(pristine)
    assert not same(before, merged)
    assert same(before, embed.embed(PROMPT, connectors_key=""))
    assert same(merged, embed.embed(PROMPT, connectors_key=("style", 0.5)))
    assert passes.calls == 2


def test_what_was_not_used_for_longest_is_forgotten_first_and_bytes_are_the_bound(
    components: Components, passes: Counted
) -> None:
    size = encoded(components, PROMPT).size
    passes.calls = 0
    embed = embedder(components, cache_bytes=2 * size + size // 2)
    embed.embed("first")
    embed.embed("second")
    embed.embed("first")
    embed.embed("third")
    assert [embed.holds(text) for text in ("first", "second", "third")] == [True, False, True]
    assert passes.calls == 3
    embed.embed("second")
    assert [embed.holds(text) for text in ("first", "second", "third")] == [False, True, True]


@pytest.mark.parametrize("bytes_short", [0, 1])
def test_an_embedding_is_kept_exactly_where_it_fits(components: Components, bytes_short: int) -> None:
    embed = embedder(components, cache_bytes=encoded(components, PROMPT).size - bytes_short)
    made = embed.embed(PROMPT)
    assert embed.holds(PROMPT) is (bytes_short == 0)
    assert same(made, embed.embed(PROMPT))


def test_a_text_that_is_cut_is_told_with_its_numbers(components: Components) -> None:
    embed = embedder(components)
    fits, long = "x" * (LENGTH - 1), "x" * 300  # a byte each, and the token that begins every text
    assert embed.count_tokens(fits) == LENGTH
    assert embed.cut_note("prompt", fits) is None
    assert (
        embed.cut_note("negative prompt", long) == "the negative prompt has 301 tokens, the model reads the first 256"
    )
    assert same(embed.embed(long), embed.embed(fits))


def test_the_head_and_the_key_cache_are_not_computed(components: Components) -> None:
    head = Counted(components.text_encoder.lm_head)
    kept = []

    def look(module: object, arguments: object, output: object) -> None:
        kept.append(output.past_key_values)

    handle = components.text_encoder.model.register_forward_hook(look)
    try:
        encoded(components, PROMPT)
    finally:
        handle.remove()
        head._handle.remove()
    assert head.calls == 0
    assert kept == [None]
