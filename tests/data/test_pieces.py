"""Word pieces: their ids, what is kept of a tokenizer, and presets in Keras' and Hugging Face's form."""

from __future__ import annotations

import json
from pathlib import Path

import keras_hub
import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from recommenders_miner.data import pieces as pieces_module
from recommenders_miner.data.pieces import Pieces
from recommenders_miner.errors import PresetError
from tests import tiny_checkpoints
from tests.tiny_checkpoints import BERT, CASES, ROBERTA, SIZE, TEXTS, write_case, write_checkpoint

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


STORED = json.loads((Path(__file__).parents[1] / "encoders" / "plm_vectors.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CASES)
def test_pieces_are_those_of_transformers(name, tmp_path):
    read = Pieces(write_case(tmp_path, name))
    for size, texts in ((SIZE, TEXTS), (2, TEXTS[:1])):
        wanted = [row if len(row) <= size else [*row[: size - 1], row[-1]] for row in STORED[name]["pieces"]]
        assert [[piece - 1 for piece in row] for row in read.encode(texts, size)] == wanted[: len(texts)]
    read.save(tmp_path / "saved")
    assert Pieces.load(tmp_path / "saved").digest == read.digest


@pytest.mark.parametrize(
    ("config", "tokenizer", "said"),
    [
        (BERT, {"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "mecab"}, "a BertJapaneseTokenizer"),
        ({**BERT, "tokenizer_class": "BertJapaneseTokenizer"}, {}, "a BertJapaneseTokenizer"),
        (ROBERTA, {"tokenizer_class": "PhobertTokenizer"}, "a PhobertTokenizer"),
        (ROBERTA, {"tokenizer_class": "BertweetTokenizer"}, "a BertweetTokenizer"),
        ({"model_type": "camembert"}, {"tokenizer_class": "CamembertTokenizer"}, "a CamembertTokenizer"),
        (tiny_checkpoints.DEBERTA, {"tokenizer_class": "DebertaV2Tokenizer"}, "a DebertaV2Tokenizer"),
    ],
)
def test_a_tokenizer_of_another_kind_is_refused_with_what_to_do(tmp_path, config, tokenizer, said):
    folder = write_checkpoint(tmp_path, config, tokenizer)
    with pytest.raises(PresetError, match=f"it is {said}, which this package does not have.*transformers"):
        Pieces(folder).encode(TEXTS, SIZE)


@pytest.mark.parametrize("name", ["bert", "roberta", "xlm-roberta"])
def test_files_of_a_tokenizer_that_are_missing_are_named(tmp_path, name):
    folder = write_case(tmp_path, name)
    [path] = [path for path in folder.iterdir() if path.name in ("vocab.txt", "merges.txt", "sentencepiece.bpe.model")]
    path.unlink()
    with pytest.raises(PresetError, match=f"has no tokenizer.json nor {path.name}. Write it anew with transformers"):
        Pieces(folder).encode(TEXTS, SIZE)


def test_a_tokenizer_without_the_pieces_that_a_model_needs_is_refused(tmp_path):
    folder = write_case(tmp_path, "bert")
    words = (folder / "vocab.txt").read_text(encoding="utf-8")
    (folder / "vocab.txt").write_text(words.replace("[SEP]\n", "sep\n"), encoding="utf-8")
    with pytest.raises(PresetError, match=r"its vocabulary has no \[SEP\]"):
        Pieces(folder).encode(TEXTS, SIZE)


def test_tokenizers_in_keras_form_make_the_pieces_of_those_in_hugging_faces(tmp_path):
    vocabulary = {**tiny_checkpoints.BYTES, "<mask>": len(tiny_checkpoints.BYTES)}
    made = {
        "roberta": keras_hub.models.RobertaTokenizer(vocabulary, tiny_checkpoints.MERGES),
        "xlm-roberta": keras_hub.models.XLMRobertaTokenizer(tiny_checkpoints.sentence_pieces()),
    }
    for name, tokenizer in made.items():
        tokenizer.save_to_preset(str(tmp_path / name))
        found = Pieces(tmp_path / name).encode(TEXTS, SIZE)
        assert [[piece - 1 for piece in row] for row in found] == STORED[name]["pieces"], name


def test_debertas_tokenizer_in_keras_form_makes_the_pieces_of_sentencepiece(tmp_path):
    proto = sentencepiece_model_pb2.ModelProto.FromString(tiny_checkpoints.sentence_pieces())
    first = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")
    del proto.pieces[:3]
    pieces, scored = [sentencepiece_model_pb2.ModelProto.SentencePiece() for _ in first], list(proto.pieces)
    for piece, name in zip(pieces, first, strict=True):
        piece.piece, piece.score, piece.type = name, 0.0, 2 if name == "[UNK]" else 3
    del proto.pieces[:]
    proto.pieces.extend([*pieces, *scored])
    spec = proto.trainer_spec
    spec.pad_id, spec.bos_id, spec.eos_id, spec.unk_id = range(4)
    spec.pad_piece, spec.bos_piece, spec.eos_piece, spec.unk_piece = first
    keras_hub.models.DebertaV3Tokenizer(proto.SerializeToString()).save_to_preset(str(tmp_path))
    plain = [text for text in TEXTS if set(text) <= {*"abcdefghijklmnopqrstuvwxyz", " "} and text.strip() == text]
    read = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
    expected = [[1, *read.encode(text)[: SIZE - 2], 2] for text in plain]
    assert [[piece - 1 for piece in row] for row in Pieces(tmp_path).encode(plain, SIZE)] == expected
    assert any(len(set(row) - {1, 2, 3}) > 2 for row in expected)


def test_a_tokenizer_of_kerashub_that_no_language_model_here_has_is_named(tmp_path):
    vocabulary = {"<|endoftext|>": 0, "a": 1, "b": 2, "ab": 3}
    keras_hub.models.GPT2Tokenizer(vocabulary, ["a b"]).save_to_preset(str(tmp_path))
    with pytest.raises(PresetError, match=r"its vocabulary has no <s>, </s>, <unk>\."):
        Pieces(tmp_path).encode(["a"], 4)
