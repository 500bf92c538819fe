"""A job's prompt through the bundle's own text model, from the job to the line in its log."""

import logging
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch

from stillmotion.engine.components import Components
from stillmotion.engine.expansion import ChatModel
from stillmotion.engine.sampler import Stopped
from stillmotion.executor.expansion import Expansion, expand
from stillmotion.job import Job

Picture = npt.NDArray[np.uint8]
MakeJob = Callable[..., Job]


def expanded(
    components: Components, job: Job, picture: Picture, should_stop: Callable[[], bool] = lambda: False
) -> Expansion | None:
    return expand(
        job,
        ChatModel(components.text_encoder, components.tokenizer),
        {"image_url": picture},
        seconds=60.0,
        should_stop=should_stop,
        fatal=lambda error: isinstance(error, Stopped),
    )


def test_noise_from_random_weights_is_not_used(components: Components, make_job: MakeJob, picture: Picture) -> None:
    job = make_job(expand_prompt=True)
    state = torch.get_rng_state()
    expansion = expanded(components, job, picture)
    assert torch.equal(torch.get_rng_state(), state)
    assert expansion is not None
    assert (expansion.text, expansion.expanded) == (job.prompt, False)
    assert expansion.note.startswith("the text model's answer is ")
    assert expansion == expanded(components, job, picture)


def test_what_the_model_writes_is_used(components: Components, make_job: MakeJob, picture: Picture) -> None:
    prose = "Rain falls on a robot."
    script = iter([*components.tokenizer(prose, add_special_tokens=False).input_ids, components.tokenizer.eos_token_id])
    hook = components.text_encoder.lm_head.register_forward_hook(
        lambda module, arguments, logits: logits.index_fill(-1, torch.tensor([next(script)]), 1e4)
    )
    try:
        expansion = expanded(components, make_job(expand_prompt=True), picture)
    finally:
        hook.remove()
    assert expansion == Expansion(text=prose, note="the prompt was expanded from 27 to 22 characters", expanded=True)


def test_a_cancelled_job_stops_in_the_middle(components: Components, make_job: MakeJob, picture: Picture) -> None:
    tokens = []
    hook = components.text_encoder.lm_head.register_forward_hook(lambda *_: tokens.append(1))
    try:
        with pytest.raises(Stopped):
            expanded(components, make_job(expand_prompt=True), picture, should_stop=lambda: len(tokens) == 3)
    finally:
        hook.remove()
    assert len(tokens) == 3


def test_a_model_that_fails_leaves_the_prompt(
    components: Components, make_job: MakeJob, picture: Picture, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(module: object, arguments: object) -> None:
        raise torch.OutOfMemoryError("no room for 512 tokens")

    hook = components.text_encoder.lm_head.register_forward_pre_hook(fail)
    try:
        with caplog.at_level(logging.WARNING):
            expansion = expanded(components, make_job(expand_prompt=True), picture)
    finally:
        hook.remove()
    assert expansion is not None
    assert expansion.note == "the prompt could not be expanded (OutOfMemoryError); the prompt is used as it is"
    assert "no room for 512 tokens" in caplog.text
