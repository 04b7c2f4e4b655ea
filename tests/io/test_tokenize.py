import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.io.tokenize import tokenize


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        ("Hello, World!", ["hello", ",", "world", "!"]),
        ("It's 3.5% - really?", ["it", "s", "3", ".", "5", "really", "?"]),
        ("a|b;c...", ["a", "|", "b", ";", "c", ".", ".", "."]),
        ("snake_case ÉTÉ 東京", ["snake_case", "été", "東京"]),
        ('"quoted" (text): x', ["quoted", "text", "x"]),
    ],
)
def test_words_and_marks(text, tokens):
    assert tokenize(text) == tokens


@settings(deadline=None)
@given(st.text())
def test_tokens_are_the_words_and_marks_of_the_lowered_text_in_order(text):
    kept = "".join(tokenize(text))
    assert kept == "".join(c for c in text.lower() if re.fullmatch(r"\w", c) or c in ".,!?;|")
