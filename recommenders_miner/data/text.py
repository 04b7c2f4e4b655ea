"""Splits text into the word tokens that word-embedding news encoders read."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"[\w]+|[.,!?;|]")


def tokenize(text: str) -> list[str]:
    """Split text into lower-case words and the punctuation marks `. , ! ? ; |`; other characters are dropped.

    This is the rule of `word_tokenize` in Microsoft Recommenders' newsrec, so that vocabularies agree with it.

    Example:
        >>> tokenize("It's over!")
        ['it', 's', 'over', '!']
    """
    return _TOKEN.findall(text.lower())


def token_places(text: str) -> list[tuple[int, int]]:
    """Return where each token of `tokenize(text)` begins and ends in the text, in characters.

    Example:
        >>> token_places("It's over!")
        [(0, 2), (3, 4), (5, 9), (9, 10)]
    """
    # A few letters are longer in lower case than in upper case.
    origin = [place for place, letter in enumerate(text) for _ in letter.lower()]
    return [(origin[match.start()], origin[match.end() - 1] + 1) for match in _TOKEN.finditer(text.lower())]
