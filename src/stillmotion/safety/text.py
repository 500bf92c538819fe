"""One spelling for texts that a reader takes for the same."""

import re
import unicodedata

# Invisible, although they are letters or marks by their category: joiners, fillers and variation selectors.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)

# Scripts that are written without spaces: each character is a word, so that a term is found inside a sentence.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])[^\W_])+")


def normalised(text: str) -> str:
    """``text`` in Unicode's form NFKC (full-width and styled letters become plain ones), without invisible
    characters, its white space as single spaces."""
    visible = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", _INVISIBLE.sub("", visible)).split())


def words(text: str) -> list[str]:
    """The words of ``text``, whatever their case and whatever stands between them."""
    return _WORD.findall(unicodedata.normalize("NFKC", normalised(text).casefold()))
