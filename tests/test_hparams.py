"""prepare_hparams: files, overrides, and what it says of mistakes."""

from __future__ import annotations

import pytest

from recommenders_miner.errors import HParamsError
from recommenders_miner.hparams import HParams, prepare_hparams


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
    hparams = prepare_hparams(tmp_path / "mine.yaml")
    assert hparams == prepare_hparams("miner", num_interests=4)
    (tmp_path / "loop.yaml").write_text("base: loop.yaml\n")
    with pytest.raises(HParamsError, match="itself"):
        prepare_hparams(tmp_path / "loop.yaml")


def test_without_a_file_there_are_defaults():
    assert prepare_hparams() == HParams()


def test_to_dict_has_the_shape_of_a_file():
    hparams = prepare_hparams("lstur", epochs=2)
    sections = hparams.to_dict()
    assert list(sections) == ["data", "info", "model", "train"]
    assert HParams(**{key: value for section in sections.values() for key, value in section.items()}) == hparams
    assert hparams.replace(epochs=3).epochs == 3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"bacth_size": 3}, "unknown hyperparameter 'bacth_size'. Did you mean 'batch_size'"),
        ({"batch_size": "many"}, r"batch_size: expected int, got 'many' \(str\)"),
        ({"batch_size": 3.5}, "batch_size: expected int"),
        ({"batch_size": True}, "batch_size: expected int"),
        ({"batch_size": 0}, "batch_size: expected at least 1, got 0"),
        ({"dropout": 1.0}, "dropout: expected below 1.0"),
        ({"learning_rate": 0}, "learning_rate: expected above 0"),
        ({"learning_rate": float("nan")}, "learning_rate: expected above 0"),
        ({"aggregation": "median"}, "aggregation: expected one of"),
        ({"metrics": "group_auc"}, "metrics: expected"),
        ({"category_weighting": "yes"}, "category_weighting: expected bool"),
    ],
)
def test_mistakes_are_named(overrides, message):
    with pytest.raises(HParamsError, match=message):
        prepare_hparams("miner", **overrides)


def test_numbers_are_taken_as_yaml_writes_them(tmp_path):
    (tmp_path / "a.yaml").write_text("train: {learning_rate: 1e-4}\nmodel: {dropout: 0}\n")
    hparams = prepare_hparams(tmp_path / "a.yaml")
    assert (hparams.learning_rate, hparams.dropout) == (1e-4, 0.0)
    assert isinstance(hparams.dropout, float)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {epcohs: 3}", "unknown hyperparameter 'epcohs'. Did you mean 'epochs'"),
        ("training: {epochs: 3}", "unknown section 'training'"),
        ("train: 3", "section 'train' should hold"),
        ("- a\n- b", "expected the sections"),
        ("train: [", "not readable as YAML"),
        ("train: !!python/object/apply:os.system ['true']", "not readable as YAML"),
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
