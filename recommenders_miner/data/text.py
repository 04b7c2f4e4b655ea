"""Splits text into the word tokens that word-embedding news encoders read.

The rule is that of `word_tokenize` in Microsoft Recommenders' newsrec, so that vocabularies agree with it: lower-case
runs of letters, digits and underscores, and the punctuation marks `. , ! ? ; |`; all else is dropped. Of text that is
not ASCII it is made whole first: composed (Unicode's NFC), and a combining mark is part of the word it stands in.
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from typing import Any, Literal

import numpy as np

from recommenders_miner.errors import HParamsError

Segmenter = Literal["none", "icu"]
"""What finds the words of scripts that write none: nothing, a run of letters being one word, or ICU's dictionaries."""

_TOKEN = re.compile(r"\w+|[.,!?;|]")
# What says how a word is drawn, and is no part of it: soft hyphens, joiners of words, directions, variants, enclosures.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u0488\u0489\u061c\u180b-\u180d\u180f\u1abe\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069"
    "\u20dd-\u20e0\u20e2-\u20e4\ua670-\ua672\ufe00-\ufe0f\ufeff\U000e0100-\U000e01ef]"
)
_MARKED = (*range(0x0300, 0x20000), *range(0xE0000, 0xE1000))  # where Unicode has its combining marks
# Thai, Lao; Myanmar; Khmer; Tai Le to Khmer symbols; Tai Tham; kana; Han; more Myanmar; Tai Viet; Han; halfwidth kana.
_UNSPACED = re.compile(
    "[\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aad\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u9fff\ua9e0-\ua9fe\uaa60-\uaadf\uf900-\ufaff\uff66-\uff9f\U0001b000-\U0001b16f\U00020000-\U0003ffff]"
)


def tokenize(text: str, segmenter: Segmenter = "none") -> list[str]:
    """Split text into words and punctuation marks.

    Raises:
        HParamsError: ICU is asked for and not installed.

    Example:
        >>> tokenize("It's over!")
        ['it', 's', 'over', '!']
    """
    return _split(_folded(text), segmenter) if not text.isascii() else _TOKEN.findall(text.lower())


def token_places(text: str, segmenter: Segmenter = "none") -> list[tuple[int, int]]:
    """Return where each token of `tokenize(text)` begins and ends in the text, in characters.

    Example:
        >>> token_places("It's over!")
        [(0, 2), (3, 4), (5, 9), (9, 10)]
    """
    folded, places, end = _folded(text), [], 0
    for token in _split(folded, segmenter):
        start = folded.index(token, end)
        end = start + len(token)
        places.append((start, end))
    if len(folded) == len(text) and unicodedata.is_normalized("NFC", text):
        return places
    # Where each beginning of the text ends when folded; a later mark may yet compose with what it holds.
    ends = np.array([len(_folded(text[:end])) for end in range(1, len(text) + 1)], np.int64)
    ends = np.minimum.accumulate(ends[::-1])[::-1]
    return [tuple(np.searchsorted(ends, place, side="right").tolist()) for place in places]


def are_unspaced(text: str) -> bool:
    """Return whether text has letters of a script that writes no spaces between words."""
    return not text.isascii() and _UNSPACED.search(text) is not None


def _folded(text: str) -> str:
    """Bring text into lower case and the form in which equal words are equal."""
    if text.isascii():
        return text.lower()
    lowered = _INVISIBLE.sub("", unicodedata.normalize("NFC", text)).lower()
    # The dot that lower() leaves of a Turkish capital goes, so that "İlk" is "ilk".
    return unicodedata.normalize("NFC", lowered).replace("i\u0307", "i")


def _split(folded: str, segmenter: Segmenter) -> list[str]:
    tokens = _marked_token().findall(folded)
    if segmenter == "none":
        return tokens
    return list(itertools.chain.from_iterable(_segments(token) if are_unspaced(token) else [token] for token in tokens))


@functools.cache
def _marked_token() -> re.Pattern[str]:
    """A token whose words may have marks, and within them the joiners of Persian and of the scripts of India."""
    marks = "".join(letter for letter in map(chr, _MARKED) if unicodedata.category(letter) in ("Mn", "Mc"))
    return re.compile(rf"\w+(?:(?:(?![\0-\u02ff])[{marks}]|[\u200c\u200d](?=\w))+\w*)*|[.,!?;|]")


def _segments(word: str) -> list[str]:
    return [part for part in _icu().WordBreaker(word, "root") if _TOKEN.match(part)]


@functools.cache
def _icu() -> Any:
    try:
        from icu4py import breakers
    except ImportError:
        remedy = "pip install 'recommenders-miner[icu]'"
        raise HParamsError(f"word_segmenter: icu needs the package icu4py. Install it: {remedy}") from None
    return breakers
