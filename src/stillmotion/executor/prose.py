"""What a language model answered, as one line of plain prose. Standard library only."""

import re
import unicodedata
import zlib

MAX_CHARS = 4000
"""Longest prose that is taken from an answer; the video model reads 1024 tokens, about as much English."""
_MAX_READ = 4 * MAX_CHARS
"""Characters of an answer that are looked at."""
_MAX_PASSES = 8


def tidy(answer: str) -> str:
    """``answer`` as one line of at most ``MAX_CHARS`` characters; "" where nothing is left.

    Without reasoning, preambles, labels, markup and enclosing quotation marks. Tidying twice changes nothing.
    """
    answer = answer[:_MAX_READ]
    for _ in range(_MAX_PASSES):  # what one pass removes may uncover more of the same kind
        tidied = _tidied_once(answer)
        if tidied == answer:
            return answer
        answer = tidied
    return ""  # wrapping all the way down


def whole_sentences(text: str) -> str:
    """``text`` up to the end of its last whole sentence."""
    ends = [match.end() for match in _SENTENCE.finditer(text)]
    return text[: ends[-1]] if ends else ""


def is_text(prose: str) -> bool:
    """Whether ``prose`` is mostly letters, of whatever script."""
    visible = [character for character in prose if not character.isspace()]
    letters = sum(unicodedata.category(character)[0] in "LM" for character in visible)
    # U+FFFD stands for bytes that are no text.
    return letters > 0 and letters >= len(visible) / 2 and prose.count("\ufffd") <= 2


def is_loop(prose: str) -> bool:
    """Whether ``prose`` says the same again and again, as language models do when they fail."""
    data = prose.encode()
    # Prose shrinks to about a half, a loop of one sentence to a twentieth.
    return len(data) >= 100 and len(zlib.compress(data)) < len(data) / 4


def is_refusal(prose: str) -> bool:
    return _REFUSAL.match(prose) is not None


def repeats_quotations(prose: str, source: str) -> bool:
    """Whether all that stands in quotation marks in ``source`` is said in ``prose``, whatever marks are set there."""
    said = _words(prose)
    return all(_words(next(filter(None, groups))) in said for groups in _QUOTATION.findall(source))


_REASONING = (
    re.compile(r"\A.*</think(?:ing)?>", re.DOTALL | re.IGNORECASE),  # some servers swallow the opening tag
    re.compile(r"<think(?:ing)?>.*", re.DOTALL | re.IGNORECASE),  # cut off before the answer
)
_MARKUP = (
    re.compile(r"^[ \t]*```\w*[ \t]*$", re.MULTILINE),
    re.compile(r"^[ \t]*(?:#{1,6}|[-*+•>]|\d{1,2}[.)])[ \t]+", re.MULTILINE),
    re.compile(r"^[ \t]*(?:[-*_=][ \t]*){3,}$", re.MULTILINE),
)
_EMPHASIS = re.compile(r"(\*{1,3}|_{2,3}|`{1,3})(?=\S)(.{1,300}?)(?<=\S)\1")
_KIND = r"(?:prompt|paragraph|description|version|rewrite|expansion|request)"
_PREAMBLES = (
    re.compile(r"\A(?:sure|okay|ok|certainly|absolutely|of course)(?:[,.!:]+\s*|\s+(?=here))", re.IGNORECASE),
    re.compile(rf"\Ahere(?:['’]s|\s+is)\b[^.:]{{0,60}}\b{_KIND}\b[^.:]{{0,60}}:\s*", re.IGNORECASE),
    re.compile(
        rf"\A(?:the\s+)?(?:(?:rewritten|expanded|enhanced|improved|revised|final|video)\s+){{0,3}}{_KIND}\s*:\s*",
        re.IGNORECASE,
    ),
)
_QUOTES = {'"': '"', "“": "”", "„": "“", "«": "»", "「": "」", "'": "'", "‘": "’"}
_QUOTATION = re.compile(r"\"([^\"]+)\"|“([^”]+)”|«([^»]+)»|「([^」]+)」")
_SENTENCE = re.compile(r"[.!?…]+[\"'”’»)]*(?=\s|\Z)|[。！？]+[」』”]*")
_REFUSAL = re.compile(
    r"(?:i['’]m|i am)\s+(?:very\s+)?(?:sorry|unable)|sorry[,.]|i\s+(?:can['’]?t|cannot|won['’]t)\b|as an ai\b",
    re.IGNORECASE,
)
_JOINERS = "\u200c\u200d"
"""Invisible, but letters of Persian and parts of emoji need them."""


def _tidied_once(text: str) -> str:
    for pattern in _REASONING:
        text = pattern.sub("", text)
    text = "".join(map(_visible, text))
    for pattern in _MARKUP:
        text = pattern.sub(" ", text)
    text = _EMPHASIS.sub(r"\2", text)
    text = " ".join(text.split())
    for pattern in _PREAMBLES:
        text = pattern.sub("", text)
    return _capped(_unquoted(text).strip())


def _visible(character: str) -> str:
    """Control, formatting, private and unassigned characters become blanks; line breaks stay for rules about lines."""
    if character == "\n" or character in _JOINERS or not unicodedata.category(character).startswith("C"):
        return character
    return " "


def _unquoted(text: str) -> str:
    inner, closing = text[1:-1], _QUOTES.get(text[:1])
    if closing is None or text[-1] != closing or len(text) < 2:
        return text
    # Where the marks stand inside too, the first and the last one may belong to two quotations.
    return text if text[0] in inner or closing in inner else inner


def _capped(text: str) -> str:
    if len(text) <= MAX_CHARS:
        return text
    head = text[:MAX_CHARS]
    return whole_sentences(head) or head.rpartition(" ")[0] or head


def _words(text: str) -> str:
    """Letters and digits alone."""
    return " ".join("".join(c if c.isalnum() else " " for c in text.casefold()).split())
