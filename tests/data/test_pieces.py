"""Word pieces: their ids, what is kept of a tokenizer, and presets in Keras' and Hugging Face's form."""

from __future__ import annotations

import json

import keras_hub
import pytest

from recommenders_miner.data import pieces as pieces_module
from recommenders_miner.data.pieces import Pieces
from recommenders_miner.errors import PresetError

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "rain", "sun", "##ny", "cafe", "café", "Rain", "!"]
# An id is one more than the piece's place in the vocabulary.
UNK, CLS, SEP, RAIN, SUN, NY, CAFE, ACCENTED, CAPITAL, MARK = 2, 3, 4, 6, 7, 8, 9, 10, 11, 12


def keras_preset(folder, vocabulary=VOCABULARY, **settings):
    tokenizer = keras_hub.models.BertTokenizer(vocabulary=vocabulary, **{"lowercase": True, **settings})
    tokenizer.save_to_preset(str(folder))
    return folder


def hugging_face_preset(folder, **tokenizer_config):
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 8, "intermediate_size": 16}
    config = {"model_type": "bert", "vocab_size": len(VOCABULARY), "max_position_embeddings": 16, **sizes}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in VOCABULARY), encoding="utf-8")
    return folder


@pytest.fixture
def pieces(tmp_path):
    return Pieces(keras_preset(tmp_path / "preset"))


def test_ids_are_one_more_than_the_tokenizers_between_the_start_and_the_end_piece(pieces):
    assert pieces.encode(["rain sunny", "Sun!"], 9) == [[CLS, RAIN, SUN, NY, SEP], [CLS, SUN, MARK, SEP]]
    own = pieces.tokenizer.token_to_id
    assert (own("[CLS]"), own("[SEP]"), own("rain"), own("[UNK]")) == (CLS - 1, SEP - 1, RAIN - 1, UNK - 1)


def test_a_title_is_cut_to_size_with_its_end_piece(pieces):
    whole = [CLS, RAIN, SUN, NY, RAIN, SEP]
    for size in range(1, 7):
        assert pieces.encode(["rain sunny rain"], size) == [[*whole[: size - 1], SEP]]


def test_an_unknown_word_is_the_unknown_piece_and_no_padding(pieces):
    titles = {"snow": [UNK], "rain snow sun": [RAIN, UNK, SUN], "東": [UNK], "": [], "  ": []}
    assert pieces.encode(list(titles), 5) == [[CLS, *row, SEP] for row in titles.values()]
    assert pieces.encode([], 5) == []


def test_a_piece_with_the_tokenizers_id_0_is_no_padding(tmp_path):
    vocabulary = ["rain", *(piece for piece in VOCABULARY if piece != "rain")]
    assert Pieces(keras_preset(tmp_path, vocabulary)).encode(["rain"], 3) == [[CLS + 1, 1, SEP + 1]]


def test_what_a_tokenizer_does_names_its_digest(tmp_path):
    def digest(name, *arguments, **settings):
        return Pieces(keras_preset(tmp_path / name, *arguments, **settings)).digest

    plain = digest("plain")
    assert plain == digest("again")
    others = [
        digest("longer", [*VOCABULARY, "snow"]),
        digest("turned", [*VOCABULARY[:5], *reversed(VOCABULARY[5:])]),
        digest("case", lowercase=False),
        digest("accents", strip_accents=True),
    ]
    assert len({plain, *others}) == 5


@pytest.mark.parametrize(
    ("settings", "title"),
    [
        ({"do_lower_case": True, "strip_accents": None}, [CAFE, CAFE]),
        ({"do_lower_case": True}, [CAFE, CAFE]),
        ({"do_lower_case": True, "strip_accents": True}, [CAFE, CAFE]),
        ({"do_lower_case": True, "strip_accents": False}, [ACCENTED, ACCENTED]),
        ({"do_lower_case": False, "strip_accents": None}, [UNK, ACCENTED]),
        ({"do_lower_case": False}, [UNK, ACCENTED]),
        ({"do_lower_case": False, "strip_accents": True}, [UNK, CAFE]),
    ],
)
def test_accents_of_a_hugging_face_tokenizer_go_where_case_goes_unless_it_says_so(tmp_path, settings, title):
    read = Pieces(hugging_face_preset(tmp_path / "model", **settings))
    assert read.encode(["Café café"], 4) == [[CLS, *title, SEP]]
    for _ in range(2):
        read.save(tmp_path / "deep" / "saved")
    saved = Pieces(tmp_path / "deep" / "saved")
    assert saved.encode(["Café café"], 4) == [[CLS, *title, SEP]]
    assert saved.digest == read.digest


def test_one_tokenizer_in_two_forms_has_one_digest(tmp_path, pieces):
    settings = {"do_lower_case": True, "strip_accents": False}
    assert Pieces(hugging_face_preset(tmp_path / "model", **settings)).digest == pieces.digest


def test_a_preset_that_is_not_there_is_named(tmp_path, monkeypatch):
    nowhere = tmp_path / "nowhere"
    with pytest.raises(PresetError, match=r"nowhere: no tokenizer could be loaded") as caught:
        Pieces(nowhere).encode(["rain"], 5)
    assert caught.value.preset == str(nowhere)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECOMMENDERS_MINER_HOME", str(tmp_path))
    with pytest.raises(PresetError, match="recommenders-miner fetch minilm"):
        Pieces("minilm").encode(["rain"], 5)


def test_a_damaged_preset_is_named(tmp_path, pieces):
    (tmp_path / "preset" / "tokenizer.json").write_text("{")
    with pytest.raises(PresetError, match=r"preset: no tokenizer could be loaded"):
        pieces.encode(["rain"], 5)


def test_a_lambda_in_saved_pieces_is_refused(tmp_path, pieces):
    pieces.save(tmp_path / "saved")
    evil = {"module": "keras.layers", "class_name": "Lambda", "config": {"function": {"class_name": "__lambda__"}}}
    (tmp_path / "saved" / "tokenizer.json").write_text(json.dumps(evil))
    with pytest.raises(PresetError, match="lambda"):
        Pieces.load(tmp_path / "saved")


def test_the_tokenizer_is_loaded_when_it_is_first_needed_and_once(pieces, monkeypatch):
    calls = []
    load = pieces_module._load_saved
    monkeypatch.setattr(pieces_module, "_load_saved", lambda path: calls.append(path) or load(path))
    assert Pieces("nowhere at all").preset == "nowhere at all"
    other = Pieces(pieces.preset)
    assert calls == []
    assert other.encode(["rain"], 5) == other.encode(["Rain"], 5)
    assert len(other.digest) == 32
    assert len(calls) == 1
