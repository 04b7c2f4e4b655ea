# ruff: noqa: RUF001  (words of many scripts)
import itertools
import re
import sys
import unicodedata
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommenders_miner.data.text import _icu, are_unspaced, token_places, tokenize
from recommenders_miner.data.vocabulary import Vocabulary
from recommenders_miner.errors import DataFormatError, HParamsError

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


ENGLISH = st.characters(max_codepoint=0x2FF) | st.sampled_from("‘’“”–—…€™ .,")


@settings(deadline=None, max_examples=200)
@given(st.text(ENGLISH.filter(lambda letter: letter != "\xad")))
def test_text_of_latin_letters_is_split_as_microsoft_recommenders_does(text):
    assert tokenize(text) == re.findall(r"[\w]+|[.,!?;|]", text.lower())


WORDS = [
    *("தமிழ்", "செய்திகள்", "हिन्दी", "समाचार", "বাংলা", "ਪੰਜਾਬੀ", "ગુજરાતી", "తెలుగు", "ಕನ್ನಡ", "മലയാളം", "සිංහල", "नेपाली", "क़लम"),
    *("שָׁלוֹם", "קָמָץ", "مُحَمَّد", "می\u200cخواهم", "ශ්\u200dරී", "ක්\u200dෂ", "ܫܠܳܡܳܐ", "ދިވެހި", "አማርኛ"),
    *("ข่าว", "ພາສາ", "ខ្មែរ", "မြန်မာ", "བོད", "大阪", "がぎぐ", "カタカナ", "ﾊﾟﾝ", "한국어", "ქართული", "монгол"),
    *("blåbær", "økonomi", "çocuk", "tiếng", "việt", "g̃uahẽ", "avañeʼẽ", "n̈andu", "ș", "ё", "й", "a̱", "ọ́", "𝐱"),
]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("word", WORDS)
def test_a_word_of_any_script_stays_whole_in_either_form(word, form):
    word = unicodedata.normalize(form, word)
    whole = unicodedata.normalize("NFC", word)
    assert tokenize(word) == [whole]
    assert tokenize(f"{word} ({word.upper()}), 5") == [whole, tokenize(word.upper())[0], ",", "5"]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("İstanbul'da İLK", ["istanbul", "da", "ilk"]),
        ("under\u00adsøgelse", ["undersøgelse"]),
        ("\u200fעולם\u200e", ["עולם"]),
        ("ខ្មែរ\u200bសរសេរ", ["ខ្មែរ", "សរសេរ"]),  # written to part words
        ("1\ufe0f\u20e3 ❤\ufe0f 👩\u200d💻 葛\U000e0100城", ["1", "葛城"]),
        ("\u0301 \u200d x", ["x"]),  # marks on nothing
        ("\ud800é", ["é"]),
    ],
)
def test_what_is_not_seen_parts_no_words_and_what_stands_on_none_is_dropped(text, tokens):
    assert tokenize(text) == tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("北京今天的天气", ["北京", "今天", "的", "天气"]),
        ("東京で新しい映画", ["東京", "で", "新しい", "映画"]),
        ("ข่าววันนี้ 2024", ["ข่าว", "วัน", "นี้", "2024"]),
        ("ភាសាខ្មែរសរសេរ", ["ភាសាខ្មែរ", "សរសេរ"]),
        ("It's 3.5%, தமிழ் snake_case", ["it", "s", "3", ".", "5", ",", "தமிழ்", "snake_case"]),
        ("iPhone发布,新品!", ["iphone", "发布", ",", "新品", "!"]),
        ("𠮷野家", ["𠮷", "野家"]),
    ],
)
def test_icu_finds_the_words_of_scripts_without_spaces_and_leaves_others(text, tokens):
    pytest.importorskip("icu4py", reason="an extra")
    assert tokenize(text, "icu") == tokens
    assert [text[start:end].lower() for start, end in token_places(text, "icu")] == tokens
    assert are_unspaced(text) == (tokens != tokenize(text))


def test_without_icu_it_is_said_how_to_get_it(monkeypatch):
    _icu.cache_clear()
    monkeypatch.setitem(sys.modules, "icu4py", None)
    with pytest.raises(HParamsError, match=r"word_segmenter: icu needs .* pip install 'recommenders-miner\[icu\]'"):
        tokenize("北京", "icu")
    assert tokenize("goal", "icu") == ["goal"]


@settings(deadline=None, max_examples=200)
@given(st.text(st.characters() | st.sampled_from("İßΣ .,É\u0301\u0323\u00ad한\u1112\u1161क़")))
def test_places_are_those_of_the_tokens(text):
    places, tokens = token_places(text), tokenize(text)
    assert [tokenize(text[start:end]) for start, end in places] == [[token] for token in tokens]
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(places))


def test_places_in_a_text_whose_folded_form_has_another_length():
    for text in ("İİ goal", "bla\u030aba\u030ar goal", "क़क़ goal", "so\u00adfa goal"):
        assert [text[start:end] for start, end in token_places(text)] == text.split()
