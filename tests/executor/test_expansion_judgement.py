"""Which answers of a text model replace a prompt, and what is left of them."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillmotion.executor.expansion import Expansion, Shown, expand, instructions, judge, shown_picture, unchanged
from stillmotion.executor.prose import MAX_CHARS, tidy
from stillmotion.job import Job, Keyframe

PROMPT = "a robot dancing in the rain"
PROSE = (
    "A scuffed silver robot dances slowly on wet cobblestones at night, its feet splashing through puddles that mirror "
    "pink and blue shop lights. The camera circles it at knee height while rain patters on metal and a distant "
    "saxophone plays. It stops, tilts its head, and water runs from its shoulders."
)


START, END = Keyframe(image="image_url", frame=0), Keyframe(image="end_image_url", frame=8)


def make_job(**fields: Any) -> Job:
    values: dict[str, Any] = {
        "model": "m",
        "prompt": PROMPT,
        "negative_prompt": "",
        "width": 64,
        "height": 64,
        "num_frames": 9,
        "fps": 24.0,
        "seed": 1,
        "audio": True,
        "keyframes": (START,),
        "stages": (),
        "expand_prompt": True,
    }
    return Job(**(values | fields))


@dataclass(frozen=True)
class Answer:
    text: str
    complete: bool = True


@pytest.mark.parametrize(
    "answer",
    [
        PROSE,
        f"  {PROSE}\n",
        f'"{PROSE}"',
        f"“{PROSE}”",
        f"Here is the rewritten prompt:\n\n{PROSE}",
        f"Sure! Here's an expanded version of your prompt: {PROSE}",
        f"Okay, here is the paragraph:\n> {PROSE}",
        f"**Prompt:** {PROSE}",
        f"**Here is the prompt:**\n\n```text\n{PROSE}\n```",
        f"## Video description\n\nFinal prompt: {PROSE}".replace("## Video description\n\n", "## "),
        f"<think>The user wants\n\na robot.</think>\n\n{PROSE}",
        f"The user wants a robot.</think>{PROSE}",
        PROSE.replace("slowly", "**slowly**").replace("wet cobblestones", "_" * 2 + "wet cobblestones" + "_" * 2),
        PROSE.replace(" ", "\n", 3).replace(" ", "\t  ", 3),
        f"---\n{PROSE}\n---",
        PROSE.replace(" ", "\x00", 1).replace(" ", "\u202e", 1),
    ],
)
def test_what_surrounds_the_prose_is_taken_off(answer: str) -> None:
    assert tidy(answer) == PROSE


@pytest.mark.parametrize(
    "prose",
    [
        'She says "hello", waits, and then "goodbye"',
        '"Hello," she says, and a door falls shut: "Goodbye."',
        "'Tis night; the dogs' bark carries over the field of the farmers'",
        "A lens of 35 mm * 2 and a 4 * 4 grid: the camera rises.",
        "A sign reads snake_case_name above the door.",
        "Ein Käfer läuft über das Blatt.",
        "一只猫在雨中行走,镜头缓慢推进。远处传来雷声。",
        "گربه‌ای در باران راه می‌رود.",
        "A family 👩‍👩‍👧 waves from the hill.",
    ],
)
def test_prose_is_left_as_it_is(prose: str) -> None:
    assert tidy(prose) == prose
    assert judge("x", Answer(prose)).text == prose


def test_a_list_becomes_one_line() -> None:
    assert tidy("1. A cat walks.\n2. It jumps.\n- Rain falls.") == "A cat walks. It jumps. Rain falls."


def test_what_is_too_long_ends_with_a_sentence() -> None:
    prose = tidy(" ".join(f"Sentence number {n} of a very long story." for n in range(400)))
    assert MAX_CHARS - 50 < len(prose) <= MAX_CHARS
    assert prose.endswith("story.")


def test_a_reply_that_was_cut_ends_with_its_last_whole_sentence() -> None:
    cut = judge(PROMPT, Answer(PROSE[:-10], complete=False))
    assert cut.expanded
    assert cut.text == PROSE[: PROSE.rindex(" It stops")]


def test_an_expansion_says_what_it_did() -> None:
    expansion = judge(PROMPT, Answer(PROSE))
    assert (expansion.text, expansion.expanded, expansion.level) == (PROSE, True, "INFO")
    assert expansion.note == f"the prompt was expanded from {len(PROMPT)} to {len(PROSE)} characters"


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (Answer(""), "is empty or was cut off"),
        (Answer(' "" '), "is empty or was cut off"),
        (Answer("<think>The user wants a robot. It should"), "is empty or was cut off"),
        (Answer("A scuffed silver robot dan", complete=False), "is empty or was cut off"),
        (Answer("> " * 6000 + PROSE), "is empty or was cut off"),
        (Answer("�-�l���r������.\x03�"), "is not text"),
        (Answer("{}[]();;==>> a"), "is not text"),
        (Answer("12 34 56"), "is not text"),
        (Answer("A robot dances in the rain. " * 40), "repeats itself"),
        (Answer(PROSE + " and then" * 300), "repeats itself"),
        (Answer("I'm sorry, but I can't help with that."), "is a refusal"),
        (Answer("I cannot write this."), "is a refusal"),
    ],
)
def test_an_answer_of_no_use_leaves_the_prompt(answer: Answer, fault: str) -> None:
    expansion = judge(PROMPT, answer)
    assert (expansion.text, expansion.expanded, expansion.level) == (PROMPT, False, "WARN")
    assert expansion.note == f"the text model's answer {fault}; the prompt is used as it is"


@pytest.mark.parametrize(
    ("prompt", "answer", "kept"),
    [
        ('he says "Come home, now!"', "A tired man turns and whispers, “come home now,” and leaves.", True),
        ('he says "Come home, now!"', "A tired man turns and whispers something.", False),
        ("sie sagt „Guten Tag“", "Eine Frau sagt „Guten Tag“ und winkt.", True),
        ("她说「你好」", "她微笑着说「你好」,雨声渐渐变大。", True),
        ("她说「你好」", "她微笑着,雨声渐渐变大。", False),
        ("it's a dog's life", "A dog sleeps in the sun.", True),
    ],
)
def test_quoted_words_must_come_back(prompt: str, answer: str, kept: bool) -> None:
    expansion = judge(prompt, Answer(answer))
    assert expansion.expanded is kept
    assert kept or "leaves out quoted words" in expansion.note


def test_a_prompt_that_begins_like_a_refusal_may_be_expanded_so() -> None:
    assert judge("I can't stop dancing, says the robot", Answer("I can't stop dancing, sings a silver robot.")).expanded


SNIPPETS = st.sampled_from(
    [
        *("Here is the prompt: ", "Sure, ", "Prompt: ", "<think>", "</think>", "a cat walks. ", PROSE),
        *("```", "**", "__", "---", "# ", "- ", "> ", '"', "“", "”", "'", "。", "\n", " "),
        *("\u202e", "\ud800", "\ufffd"),
    ]
)
ANSWERS = st.one_of(
    st.text(max_size=400),
    st.lists(st.one_of(SNIPPETS, st.text(max_size=8)), max_size=40).map("".join),
    st.tuples(SNIPPETS, st.integers(1, 4000)).map(lambda pair: pair[0] * pair[1]),
)


@given(ANSWERS)
def test_tidying_is_bounded_gives_one_line_and_changes_nothing_the_second_time(answer: str) -> None:
    prose = tidy(answer)
    assert tidy(prose) == prose
    assert len(prose) <= MAX_CHARS
    assert prose == " ".join(prose.split())
    assert prose.isprintable() or any(not character.isprintable() for character in prose if character in "\u200c\u200d")
    prose.encode()


@given(st.text(max_size=300), ANSWERS, st.booleans())
def test_a_prompt_never_gets_lost(prompt: str, answer: str, complete: bool) -> None:
    expansion = expanded(Writer(Answer(answer, complete)), make_job(prompt=prompt), image_url=None)
    assert expansion is not None
    assert expansion.text == prompt or expansion.expanded
    assert bool(expansion.text.strip()) is bool(prompt.strip())
    assert len(expansion.text) <= max(MAX_CHARS, len(prompt))
    assert expansion.note


@dataclass
class Writer:
    """A text model that answers as it is told, and keeps what it was asked."""

    answer: Answer | Exception
    sees: bool = True
    asked: list[tuple[str, str, object]] = field(default_factory=list)

    def reply(self, instructions: str, prompt: str, picture: object, **how: Any) -> Answer:
        self.asked.append((instructions, prompt, picture))
        assert how["seed"] == 1
        assert how["max_tokens"] == 512
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def expanded(
    writer: Writer | None, job: Job, *, fatal: type[Exception] | tuple[()] = (), **pictures: object
) -> Expansion | None:
    return expand(
        job, writer, pictures, seconds=60.0, should_stop=lambda: False, fatal=lambda error: isinstance(error, fatal)
    )


@pytest.mark.parametrize(("sees", "shown", "picture"), [(True, "first", "the picture"), (False, None, None)])
def test_the_model_is_told_and_shown_what_it_can_use(sees: bool, shown: Shown | None, picture: str | None) -> None:
    writer = Writer(Answer(PROSE), sees)
    expansion = expanded(writer, make_job(), image_url="the picture")
    assert expansion == judge(PROMPT, Answer(PROSE))
    assert writer.asked == [(instructions(shown), PROMPT, picture)]


def test_a_job_that_wants_no_expansion_asks_nobody() -> None:
    writer = Writer(Answer(PROSE))
    assert expanded(writer, make_job(expand_prompt=False)) is None
    assert writer.asked == []


def test_an_empty_prompt_asks_nobody() -> None:
    writer = Writer(Answer(PROSE))
    assert expanded(writer, make_job(prompt=" \n")) == unchanged(" \n", "an empty prompt is not expanded")
    assert writer.asked == []


def test_a_model_that_cannot_expand_says_so() -> None:
    expansion = expanded(None, make_job())
    assert expansion is not None
    assert expansion.text == PROMPT
    assert expansion.note == "this model cannot expand prompts; the prompt is used as it is"


def test_an_error_leaves_the_prompt_and_is_named_but_not_quoted() -> None:
    writer = Writer(FileNotFoundError("/home/someone/model"))
    expansion = expanded(writer, make_job(keyframes=()))
    assert expansion == unchanged(PROMPT, "the prompt could not be expanded (FileNotFoundError)")
    with pytest.raises(FileNotFoundError):
        expanded(writer, make_job(keyframes=()), fatal=OSError)


def test_instructions_speak_of_the_picture_that_is_shown() -> None:
    assert "picture" not in instructions(None)
    assert "the first frame" in instructions("first")
    assert "the last frame" in instructions("last")
    for told in (instructions(None), instructions("first"), instructions("last")):
        assert "{" not in told
        assert "  " not in told


@pytest.mark.parametrize(
    ("keyframes", "shown"),
    [
        ((), None),
        ((START,), ("image_url", "first")),
        ((END, START), ("image_url", "first")),
        ((END,), ("end_image_url", "last")),
        ((Keyframe(image="image_url", frame=0, strength=0.0), END), ("end_image_url", "last")),
        ((Keyframe(image="image_url", frame=4),), None),
    ],
)
def test_the_text_model_sees_the_picture_that_the_video_begins_with(
    keyframes: tuple[Keyframe, ...], shown: tuple[str, str] | None
) -> None:
    assert shown_picture(make_job(keyframes=keyframes)) == shown
