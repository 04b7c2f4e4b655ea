import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.data.text import token_places, tokenize


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


@settings(deadline=None, max_examples=60)
@given(st.text())
def test_tokens_are_the_words_and_marks_of_the_lowered_text_in_order(text):
    kept = "".join(tokenize(text))
    assert kept == "".join(c for c in text.lower() if re.fullmatch(r"\w", c) or c in ".,!?;|")


@settings(deadline=None, max_examples=60)
@given(st.text(st.characters() | st.sampled_from("İßΣ .,É")))
def test_places_are_those_of_the_tokens(text):
    places = token_places(text)
    tokens = tokenize(text)
    assert len(places) == len(tokens)
    for (start, end), token in zip(places, tokens, strict=True):
        assert 0 <= start < end <= len(text)
        assert set(token) <= set(text[start:end].lower()) | set(text.lower()[start:end])
    assert places == sorted(places)


def test_places_in_a_text_whose_lower_case_is_longer():
    text = "İİ goal"
    assert text[slice(*token_places(text)[-1])] == "goal"
