"""Splits text into the word tokens that word-embedding news encoders read."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"[\w]+|[.,!?;|]")


def tokenize(text: str) -> list[str]:
    """Splits text into lower-case words and the punctuation marks `. , ! ? ; |`.

    This is the rule of `word_tokenize` in Microsoft Recommenders' newsrec, so that vocabularies agree with
    it.

    Args:
        text: any text.

    Returns:
        The tokens in order. Characters that belong to none, such as quotes and hyphens, are dropped.

    Example:
        >>> tokenize("It's over!")
        ['it', 's', 'over', '!']
    """
    return _TOKEN.findall(text.lower())
