"""Prompts against terms and expressions: evasions are caught, innocent words are not, bad files are told by line."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillmotion.errors import ConfigurationError
from stillmotion.safety.backtracking import LIMIT, MANY, ways
from stillmotion.safety.prompts import PromptPatterns

FILE = """
# words
cunt
Naked
very bad thing
straße
裸体

# expressions
/child.{0,20}weapon/
"""
PATTERNS = PromptPatterns.parse(FILE, "terms.txt")


def full_width(text):
    return "".join(chr(ord(letter) + 0xFEE0) if "!" <= letter <= "~" else letter for letter in text)


@pytest.mark.parametrize(
    ("prompt", "label"),
    [
        ("a naked man", "naked"),
        ("a NAKED man", "naked"),
        ("naked", "naked"),
        ("a (naked)\nman", "naked"),
        ("half_naked_man", "naked"),
        ("na\u200bked", "naked"),
        ("n\u00ada\u2060k\ufeffe\u200dd", "naked"),
        ("n\u034fa\ufe0fked", "naked"),
        (full_width("naked"), "naked"),
        ("a 𝓷𝓪𝓴𝓮𝓭 man", "naked"),
        ("a \u24dd\u24d0\u24da\u24d4\u24d3 man", "naked"),
        ("a very,  BAD\n\nthing happens", "very bad thing"),
        ("very-bad-thing", "very bad thing"),
        ("in der STRASSE", "strasse"),
        ("她的裸体在雨中", "裸 体"),
        ("a Child with a Weapon", "/child.{0,20}weapon/"),
        ("a child\n\n\nwith a weap\u200bon", "/child.{0,20}weapon/"),
    ],
)
def test_what_is_caught(prompt, label):
    verdict = PATTERNS.prompt(prompt)
    assert (verdict.flagged, verdict.label) == (True, label)


@pytest.mark.parametrize(
    "prompt",
    [
        "the town of Scunthorpe at dawn",
        "snakednation",
        "a very good thing, a bad thing",
        "very bad. That thing",
        "the child grows up far away and much later buys a weapon",
        "",
        "naïve",
    ],
)
def test_what_is_not(prompt):
    assert not PATTERNS.prompt(prompt).flagged


def test_an_empty_file_refuses_nothing():
    assert not PromptPatterns.parse("# nothing\n\n", "terms.txt").prompt("anything").flagged


INVISIBLE = st.sampled_from("\u200b\u200c\u200d\u2060\ufeff\u00ad\u034f\ufe0f\u115f\u180e\u202e\U000e0101")
DISGUISES = st.sampled_from([str, str.upper, str.title, full_width, lambda text: unicodedata.normalize("NFD", text)])


@settings(deadline=None)
@given(
    st.text(alphabet=st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), max_size=20),
    DISGUISES,
    st.lists(st.tuples(st.integers(0, 100), INVISIBLE), max_size=6),
)
def test_no_disguise_changes_what_is_found(around, disguise, hidden):
    prompt = list(disguise(f"{around} naked {around}"))
    for place, letter in hidden:
        prompt.insert(place % (len(prompt) + 1), letter)
    assert PATTERNS.prompt("".join(prompt)).flagged


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_can_be_a_prompt(prompt):
    PATTERNS.prompt(prompt)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("/(/", "not a regular expression"),
        ("/a{99999999999}/", "not a regular expression"),
        ("/(a+)+b/", "could take minutes"),
        ("/(a|aa)*b/", "could take minutes"),
        ("/.*a.*b/", "could take minutes"),
        ("/(?:a.{0,20}){4}/", "could take minutes"),
        (r"/(a)\1/", "reference"),
        ("/(?P<x>a)(?P=x)/", "group"),
        ("/(?i)a/", "group"),
        ("/(a)?(?(1)b|c)/", "group"),
        ("/x*/", "matches every prompt"),
        ("/(?!x)/", "matches every prompt"),
        ("c++", "not words alone"),
        ("...", "not words alone"),
        ("/", "not words alone"),
    ],
)
def test_a_bad_line_is_told_by_its_number(line, told):
    with pytest.raises(ConfigurationError, match=rf"terms.txt, line 3: .*{told}"):
        PromptPatterns.parse(f"# refused\nfine\n{line}\n", "terms.txt")


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        PromptPatterns.load(tmp_path / "absent")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        PromptPatterns.load(tmp_path / "binary")
    (tmp_path / "with a mark").write_text("naked", encoding="utf-8-sig")
    assert PromptPatterns.load(tmp_path / "with a mark").prompt("Naked").flagged


# Expressions with the number of their ways, put together from both at once.
ATOMS = st.sampled_from([(atom, 1) for atom in ("a", r"\.", ".", "[^]a|)]", r"[\]*]", r"\b", "^", "{", r"\x41", "ü")])


def combined(parts):
    return st.one_of(
        st.lists(parts, min_size=2, max_size=3).map(
            lambda found: ("".join(text for text, _ in found), cap(product(count for _, count in found)))
        ),
        st.tuples(st.sampled_from(["(", "(?:", "(?P<n>", "(?>"]), st.lists(parts, min_size=1, max_size=3)).map(
            lambda found: (
                found[0] + "|".join(text for text, _ in found[1]) + ")",
                cap(sum(count for _, count in found[1])),
            )
        ),
    )


def product(numbers):
    total = 1
    for number in numbers:
        total *= number
    return total


def cap(count):
    return min(count, LIMIT + 1)


@settings(deadline=None)
@given(st.recursive(ATOMS, combined, max_leaves=8), st.integers(0, 3), st.integers(0, 3), st.sampled_from(["", "?"]))
def test_ways_are_counted_through_groups_and_repetitions(part, low, more, lazy):
    text, inner = part
    group = f"(?:{text}){{{low},{low + more}}}{lazy}"
    assert ways(group) == cap(sum(inner**times for times in range(low, low + more + 1)))
    assert ways(f"(?:{text}){{{low}}}") == cap(inner**low)
    assert ways(f"(?:{text})?{lazy}x") == cap(inner + 1)
    unbounded = MANY if inner == 1 else LIMIT + 1
    for repetition in ("*", "+", f"{{{low},}}"):
        assert ways(f"(?:{text}){repetition}{lazy}") == unbounded
