"""What the passes and steps of one run have in common, computed once.

Some of the network's modules are asked for the same thing again and again: the position embeddings depend on the canvas
alone; LTX-2's text projections, and the keys and values of its text, on the text alone; the modulation on the noise
level; in LTX-2.3 the text's keys and values on the text and the noise level; and the first block's attention to itself
on the state alone, its attention to the text on both. While a pass runs, each such module has a stand-in in its place
that asks it once and answers from memory then. Nothing of the network's own ``forward`` is replaced, so offloading,
casting and hooks on these modules work as before.
"""

from collections.abc import Collection, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from stillmotion.engine.timestep_embedding import RunTimestepEmbedding

Text = Literal["positive", "negative"]

Again = Literal["state", "text"]
"""What a later pass of the same step has in common with this one: the state alone, or the text too."""

_POSITIONS = ("rope", "audio_rope", "cross_attn_rope", "cross_attn_audio_rope")
_TEXT_PROJECTIONS = ("caption_projection", "audio_caption_projection")
_MODULATIONS = (
    "time_embed",
    "audio_time_embed",
    "prompt_adaln",
    "audio_prompt_adaln",
    "av_cross_attn_video_scale_shift",
    "av_cross_attn_video_a2v_gate",
    "av_cross_attn_audio_scale_shift",
    "av_cross_attn_audio_v2a_gate",
)


class Memo:
    """The stand-ins of one run on one canvas with one pair of texts. The weights must not change during its life.

    ``runs``: lengths of the video's runs of tokens at one noise level, or ``None`` where the network is given a
    timestep for every token. ``first_block``: whether the first block's attention is shared, which must not be where it
    is perturbed. ``compiled``: the blocks are compiled and must be left as they are. ``text_keys``: whether the keys
    and values of the texts are kept, 1.2 GB a text at full size in bf16: those of both texts for the run in LTX-2,
    which saves 0.8 % of the arithmetic at 1280x704 and 121 frames and 4 % at half that size; those of the prompt for a
    step in LTX-2.3.
    """

    def __init__(
        self,
        transformer: Any,
        runs: tuple[int, ...] | None,
        *,
        text_keys: bool = True,
        first_block: bool = True,
        compiled: bool = False,
    ) -> None:
        self._pass = _Pass()
        self._places: list[tuple[nn.Module, str, nn.Module, _Remembering]] = []
        self._for_step: list[_Remembering] = []
        for name in _POSITIONS:
            self._stand_in(transformer, name, lasting=True)
        for name in _TEXT_PROJECTIONS:
            self._stand_in(transformer, name, per_text=True, lasting=True)
        for name in _MODULATIONS:
            self._stand_in(transformer, name, lasting=False)
        if runs is not None:
            timesteps = self._place(transformer, "time_embed")
            timesteps.module = RunTimestepEmbedding(timesteps.module, runs, by_token=compiled)
        if compiled:
            return
        if text_keys:
            self._share_text_keys(transformer)
        if first_block:
            self._share_first_block(transformer.transformer_blocks[0])

    def _share_text_keys(self, transformer: Any) -> None:
        # LTX-2.3 modulates its text by the noise level before it makes keys and values of it.
        lasting = getattr(transformer, "prompt_adaln", None) is None
        kept: Again | None = None if lasting else "text"
        for block in transformer.transformer_blocks:
            for attention in (block.attn2, block.audio_attn2):
                for name in ("to_k", "to_v"):
                    self._stand_in(attention, name, per_text=True, lasting=lasting, kept_for=kept)

    def _share_first_block(self, block: Any) -> None:
        """Up to where the modalities meet, all passes are given the same, but for the text."""
        for name in ("attn1", "audio_attn1"):
            self._stand_in(block, name, lasting=False, kept_for="state")
        for name in ("attn2", "audio_attn2"):
            self._stand_in(block, name, per_text=True, lasting=False, kept_for="text")

    def _stand_in(
        self,
        parent: nn.Module,
        name: str,
        *,
        per_text: bool = False,
        lasting: bool,
        kept_for: Again | None = None,
    ) -> None:
        module = getattr(parent, name, None)
        if module is None:  # the other family's
            return
        stand_in = _Remembering(module, self._pass, per_text=per_text, kept_for=kept_for)
        self._places.append((parent, name, module, stand_in))
        if not lasting:
            self._for_step.append(stand_in)

    def _place(self, parent: nn.Module, name: str) -> "_Remembering":
        return next(stand_in for holder, called, _, stand_in in self._places if holder is parent and called == name)

    @contextmanager
    def during(self, texts: tuple[Text, ...], again: Collection[Again] = ()) -> Iterator[None]:
        """One pass under each of ``texts`` as a batch; ``again``: what later passes of this step share with it."""
        self._pass.texts, self._pass.again = texts, frozenset(again)
        try:
            for parent, name, _, stand_in in self._places:
                setattr(parent, name, stand_in)
            yield
        finally:
            for parent, name, module, _ in self._places:
                setattr(parent, name, module)

    def end_step(self) -> None:
        """Forgets what depends on the noise level or the state."""
        for stand_in in self._for_step:
            stand_in.known.clear()

    def end_run(self) -> None:
        for _, _, _, stand_in in self._places:
            stand_in.known.clear()


@dataclass(slots=True)
class _Pass:
    """What runs now: the text of each sample of the batch, and what later passes share with it."""

    texts: tuple[Text, ...] = ()
    again: frozenset[Again] = field(default_factory=frozenset)


class _Remembering(nn.Module):
    """Answers for ``module``; from memory where it was asked before for as many samples or, ``per_text``, for the same.

    Only what is ``kept_for`` later passes is kept; ``None``: always.
    """

    def __init__(self, module: nn.Module, current: _Pass, *, per_text: bool, kept_for: Again | None) -> None:
        super().__init__()
        self.module, self._current, self._per_text, self._kept_for = module, current, per_text, kept_for
        self.known: dict[Hashable, Any] = {}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        key: Hashable = self._current.texts if self._per_text else len(self._current.texts)
        if key in self.known:
            return self.known[key]
        result = self.module(*args, **kwargs)
        if self._kept_for is None or self._kept_for in self._current.again:
            self.known[key] = result
        return result
