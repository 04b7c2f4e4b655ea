"""prepare_hparams: files, overrides, and what it says of mistakes."""

from __future__ import annotations

import logging

import pytest
import yaml

from recommenders_miner.errors import HParamsError
from recommenders_miner.hparams import HParams, hparams_files, hparams_folders, prepare_hparams


def test_the_packages_files_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert prepare_hparams("miner.yaml").model_type == "miner"
    assert prepare_hparams("nrms").model_type == "nrms"
    assert prepare_hparams("miner-max").aggregation == "max"


def test_a_file_in_the_current_folder_wins_and_overrides_win_over_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nrms.yaml").write_text("model: {model_type: nrms, head_num: 3}\ntrain: {batch_size: 9}\n")
    hparams = prepare_hparams("nrms.yaml", batch_size=64)
    assert (hparams.head_num, hparams.batch_size) == (3, 64)


def test_a_base_gives_what_a_file_does_not_say(tmp_path):
    (tmp_path / "mine.yaml").write_text("base: miner.yaml\nmodel: {num_interests: 4}\n")
    (tmp_path / "derived.yaml").write_text("base: mine.yaml\ntrain: {epochs: 7}\n")
    assert prepare_hparams(tmp_path / "derived.yaml") == prepare_hparams("miner", num_interests=4, epochs=7)


def test_without_a_file_there_are_the_defaults_of_miner():
    assert prepare_hparams() == prepare_hparams(model_type="miner")
    assert prepare_hparams().batch_size == HParams().batch_size == 128


def test_to_dict_has_the_shape_of_a_file():
    hparams = prepare_hparams("lstur", epochs=2)
    sections = hparams.to_dict()
    assert list(sections) == ["data", "info", "model", "train"]
    assert type(hparams)(**{key: value for section in sections.values() for key, value in section.items()}) == hparams
    assert hparams.replace(epochs=3).epochs == 3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"bacth_size": 3}, "unknown hyperparameter 'bacth_size'. Did you mean 'batch_size'"),
        ({"worddict_file": "words.json"}, "Did you mean 'wordDict_file'"),
        ({"batch_size": "many"}, "batch_size: Input should be a valid integer, got 'many'"),
        ({"batch_size": 3.5}, "batch_size: .* a valid integer"),
        ({"batch_size": True}, "batch_size: .* a valid integer"),
        ({"batch_size": 0}, "batch_size: Input should be greater than or equal to 1, got 0"),
        ({"batch_size": 2**31}, "batch_size: .* less than or equal to 2147483647, got 2147483648"),
        ({"dropout": 1.0}, "dropout: .* less than 1"),
        ({"learning_rate": 0}, "learning_rate: .* greater than 0"),
        ({"learning_rate": float("nan")}, "learning_rate: .* a finite number, got nan"),
        ({"learning_rate": 10**400}, "learning_rate: .* a valid number"),
        ({"head_learning_rate": "fast"}, "head_learning_rate: .* a valid number"),
        ({"decay": "cosine"}, "decay: Input should be 'constant' or 'linear', got 'cosine'"),
        ({"metrics": "group_auc"}, "metrics: .* a valid list"),
        ({"window_sizes": [1, "a"], "news_encoder": "kcnn"}, "window_sizes: .* a valid integer, got 'a'"),
        ({"category_weighting": "yes"}, "category_weighting: .* a valid boolean"),
        ({"model_type": "foo"}, r"model_type: expected one of .*, got 'foo'"),
        ({"optimizer": "sgd"}, "optimizer: Input should be 'adam' or 'amsgrad', got 'sgd'"),
        ({"optimizer": None}, "optimizer: Input should be 'adam' or 'amsgrad', got None"),
        ({"wordEmb_file": "vectors.npy"}, "wordEmb_file: needs wordDict_file"),
        (
            {"wordEmb_file": "vectors.npy", "wordDict_file": "words.json", "word_embedding": "glove.txt"},
            "set one of them to null",
        ),
    ],
)
def test_mistakes_are_named(overrides, message):
    with pytest.raises(HParamsError, match=message):
        prepare_hparams("miner", **overrides)
    with pytest.raises(HParamsError, match=message):
        prepare_hparams("miner").replace(**overrides)


def test_numbers_are_taken_as_yaml_writes_them(tmp_path):
    (tmp_path / "a.yaml").write_text("train: {learning_rate: 1e-4}\nmodel: {dropout: 0}\n")
    hparams = prepare_hparams(tmp_path / "a.yaml")
    assert (hparams.learning_rate, hparams.dropout) == (1e-4, 0.0)
    assert isinstance(hparams.dropout, float)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {epcohs: 3}", "unknown hyperparameter 'epcohs'. Did you mean 'epochs'"),
        ("training: {epochs: 3}", "expected sections of .*, named data, .* found {'training'"),
        ("train: 3", "expected sections of keys and values"),
        ("- a\n- b", "expected the sections"),
        ("train: [", "not readable as YAML"),
        ("train: !!python/object/apply:os.system ['true']", "not readable as YAML"),
        ("train: &a {epochs: 3}\nmodel: *a", r"aliases \(\*name\) are not read"),
        ("base: bad.yaml", "names itself as its base"),
    ],
)
def test_bad_files_are_named(tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(HParamsError, match=message) as caught:
        prepare_hparams(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_lists_those_there_are():
    with pytest.raises(HParamsError, match=r"no hyperparameter file bert4rec.*miner\.yaml.*nrms\.yaml"):
        prepare_hparams("bert4rec")


RECOMMENDERS_YAML = """\
data: {title_size: 30, his_size: 50, npratio: 4, data_format: news, word_size: 100, user_num: 3, iterator_type: null}
info: {metrics: [group_auc, mean_mrr], show_step: 100, wordDict_file: words.pkl, userDict_file: users.pkl}
model: {model_type: LSTUR, word_emb_dim: 300, gru_unit: 400, filter_num: 400, type: ini, method: classification}
train: {batch_size: 32, optimizer: adam, loss: log_loss, support_quick_scoring: true, save_epoch: 1}
"""


def test_recommenders_files_are_read_without_what_decides_nothing_here(tmp_path, caplog):
    (tmp_path / "theirs.yaml").write_text(RECOMMENDERS_YAML)
    with caplog.at_level(logging.INFO):
        hparams = prepare_hparams(tmp_path / "theirs.yaml", vert_num=17, wordEmb_file="vectors.npy")
    assert (hparams.model_type, hparams.title_size, hparams.loss, hparams.batch_size) == ("lstur", 30, "log_loss", 32)
    assert (hparams.wordDict_file, hparams.wordEmb_file, hparams.vertDict_file) == ("words.pkl", "vectors.npy", None)
    assert not hasattr(hparams, "gru_unit")
    assert "gru_unit" not in hparams.to_dict()["model"]
    assert hparams.replace(show_step=3) == hparams
    assert "wordEmb_file='vectors.npy'" in str(hparams)
    assert f"{tmp_path / 'theirs.yaml'}: without use here: data_format (a model reads" in caplog.text
    assert "gru_unit (the GRU is as wide as a news vector)" in caplog.text
    assert "an override: without use here: vert_num (the dictionary says it)." in caplog.text


@pytest.mark.parametrize(
    ("model_type", "encoder"),
    [("nrms", "self_attention"), ("lstur", "cnn"), ("npa", "cnn"), ("NAML", "multi_view"), ("miner", "self_attention")],
)
def test_a_file_without_news_encoder_has_that_of_its_system(model_type, encoder, tmp_path):
    (tmp_path / "theirs.yaml").write_text(f"model: {{model_type: {model_type}}}\n")
    assert prepare_hparams(tmp_path / "theirs.yaml").news_encoder == encoder
    assert prepare_hparams(model_type=model_type).news_encoder == encoder
    assert prepare_hparams(tmp_path / "theirs.yaml", news_encoder="knowledge").news_encoder == "knowledge"
    (tmp_path / "mine.yaml").write_text(f"base: miner.yaml\nmodel: {{model_type: {model_type}}}\n")
    assert prepare_hparams(tmp_path / "mine.yaml").news_encoder == "plm"


# === Scales ===


def test_a_scale_changes_the_file_and_overrides_win_over_both():
    paper, fast = (prepare_hparams("unbert", scale=scale) for scale in ("paper", "fast"))
    assert (paper.plm, paper.input_size, paper.plm_depth) == ("bert_base_en_uncased", 300, None)
    assert fast.plm == "minilm"
    assert fast.input_size < 300
    assert prepare_hparams("unbert", scale="fast", input_size=200).input_size == 200
    assert prepare_hparams("nrms", scale="fast").npratio == prepare_hparams("nrms").npratio


def test_every_system_of_the_papers_table_has_a_file_and_a_model():
    from recommenders_miner.experiments.runs import TABLE_2
    from recommenders_miner.models import MODELS

    assert len(TABLE_2) == 14
    for name in TABLE_2:
        for scale in ("paper", "fast"):
            assert prepare_hparams(name, scale=scale).model_type in MODELS
    assert {prepare_hparams(name).model_type for name in TABLE_2} <= set(MODELS)


def test_a_scale_names_only_files_that_there_are():
    for path in (hparams_folders()[1] / "scales").glob("*.yaml"):
        assert set(yaml.safe_load(path.read_text())) - {"all"} <= set(hparams_files())


def test_an_unknown_scale_is_an_error():
    with pytest.raises(HParamsError, match=r"no scale 'huge': choose paper or fast, .*recommenders"):
        prepare_hparams("nrms", scale="huge")


def test_recommenders_word_vectors_take_the_place_of_the_files():
    theirs = {"wordEmb_file": "embedding.npy", "wordDict_file": "word_dict.pkl"}
    assert prepare_hparams("nrms").word_embedding == "glove.840B.300d.txt"
    for scale in ("paper", "recommenders"):
        assert prepare_hparams("nrms", scale=scale, **theirs).word_embedding is None


def test_lstur_reads_the_labels_unless_it_reads_titles_only():
    assert prepare_hparams("lstur").features == ("title", "category", "subcategory")
    assert prepare_hparams("lstur", scale="recommenders").features == ("title",)


def test_a_model_has_its_own_hyperparameters_and_those_of_its_encoder():
    nrms = prepare_hparams("nrms", num_interests=4)
    assert not hasattr(nrms, "num_interests"), "what only other models have is passed over"
    assert not hasattr(nrms, "plm")
    assert nrms.replace(news_encoder="plm").plm is None
    assert nrms.replace(model_type="miner", num_interests=4).num_interests == 4
    assert prepare_hparams("nrms", news_encoder="multi_view").body_size == 50


# === Every hyperparameter with values that are wrong ===

WRONG = {
    "bool": ["maybe", 2, [True]],
    "int": ["many", 1.5, -(2**40), 2**40, [3]],
    "float": ["much", [0.5], "1e", {"a": 1}],
    "str": [3, ["a"], {"a": 1}],
    "list": ["nonsense", 3, [{}], [["a"]]],
}


def test_a_wrong_value_of_any_hyperparameter_is_refused_by_its_name():
    seen = {}
    for file in hparams_files():
        hparams = prepare_hparams(file)
        seen |= {name: (hparams, field) for name, field in type(hparams).model_fields.items() if name not in seen}
    assert len(seen) > 60
    for name, (hparams, field) in seen.items():
        kind = str(field.annotation)
        kinds = [of for of in ("list", "bool", "int", "float", "str") if of in kind] or ["str"]
        for value in ["nonsense", -3.5] if "Literal" in kind else WRONG[kinds[0]]:
            with pytest.raises(HParamsError, match=rf"\b{name}\b"):
                hparams.replace(**{name: value})
