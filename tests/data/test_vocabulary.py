import re
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommenders_miner.data.text import token_places, tokenize
from recommenders_miner.data.vocabulary import Vocabulary
from recommenders_miner.errors import DataFormatError

token = st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), min_size=1, max_size=5)


def test_padding_and_unknown_have_ids_of_their_own():
    vocabulary = Vocabulary(["film", "goal"])
    assert len(vocabulary) == 4
    assert vocabulary.tokens == ["<padding>", "<unknown>", "film", "goal"]
    assert vocabulary.encode(["goal", "opera", "film"]) == [3, 1, 2]
    assert vocabulary["film"] == 2
    assert vocabulary["opera"] == 1
    assert vocabulary["<padding>"] == 1, "no text may produce padding"
    assert "film" in vocabulary
    assert "opera" not in vocabulary
    assert "<padding>" not in vocabulary


def test_names_that_no_vocabulary_can_hold_stay_unknown():
    names = ["b", "a\r", "b", "<unknown>", "", "\udfff", "a"]
    assert Vocabulary.of_names(names).tokens[2:] == ["b", "a"]
    assert Vocabulary.build([names]).tokens[2:] == ["b", "a"]


def test_build_orders_by_frequency_then_alphabet():
    documents = [["b", "a", "c"], ["c", "d"], ["c", "b"]]
    assert Vocabulary.build(documents).tokens[2:] == ["c", "b", "a", "d"]
    assert Vocabulary.build(documents, min_count=2).tokens[2:] == ["c", "b"]
    assert len(Vocabulary.build([])) == 2


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.sampled_from("abcdef"))), st.randoms(use_true_random=False))
def test_build_does_not_depend_on_the_order_of_documents(documents, random):
    vocabulary = Vocabulary.build(documents)
    shuffled = random.sample(documents, len(documents))
    assert Vocabulary.build(shuffled).tokens == vocabulary.tokens
    counts = Counter(t for document in documents for t in document)
    assert [counts[t] for t in vocabulary.tokens[2:]] == sorted(counts.values(), reverse=True)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(token, unique=True).filter(lambda tokens: not {"<padding>", "<unknown>"} & {*tokens}))
def test_save_and_load_round_trip(tmp_path, tokens):
    path = tmp_path / "words.txt"
    Vocabulary(tokens).save(path)
    assert path.read_bytes().decode().split("\n") == ["<padding>", "<unknown>", *tokens, ""]
    assert Vocabulary.load(path).tokens == ["<padding>", "<unknown>", *tokens]
    assert list(tmp_path.iterdir()) == [path]


def test_load_accepts_what_an_editor_leaves(tmp_path):
    path = tmp_path / "words.txt"
    path.write_bytes("\ufeff<padding>\r\n<unknown>\r\nfilm\r\ngoal".encode())
    assert Vocabulary.load(path).tokens[2:] == ["film", "goal"]


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        (b"film\ngoal\n", 1, "expected <padding>"),
        (b"<padding>\n", 2, "expected <unknown>"),
        (b"<padding>\nfilm\n", 2, "expected <unknown>"),
        (b"<padding>\n<unknown>\na\n\nb\n", 4, "'' is empty"),
        (b"<padding>\n<unknown>\na\nb\na\n", 5, "'a' stands there twice"),
        (b"<padding>\n<unknown>\na\n<unknown>\n", 4, "reserved"),
        (b"<padding>\n<unknown>\na\n\xff\n", 4, "not valid UTF-8"),
        (b"\xef\xbb\xbf<padding>\n\xff", 2, "not valid UTF-8"),
        (b"", None, "the file is empty; expected a vocabulary"),
    ],
)
def test_load_names_the_bad_line(tmp_path, content, line, problem):
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    with pytest.raises(DataFormatError, match=problem) as caught:
        Vocabulary.load(path)
    assert (caught.value.path, caught.value.line) == (path, line)


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
