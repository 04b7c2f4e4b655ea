"""MINDIterator: what models use, and Recommenders' generators."""

from __future__ import annotations

import json

import numpy as np
import pytest

from recommenders_miner.compat.iterator import MINDAllIterator, MINDIterator
from recommenders_miner.errors import NotBuiltError
from recommenders_miner.hparams import prepare_hparams

NEWS = """\
N1\tsports\tgolf\tTiger wins again\tRain fall\t\t[]\t[]
N2\tnews\tworld\tRain\t\t\t[]\t[]
N3\tsports\ttennis\tA very long title about tennis\t\t\t[]\t[]
N4\tfinance\tstocks\tStocks fall\t\t\t[]\t[]
"""
BEHAVIORS = """\
1\tU1\t11/12/2019 2:14:46 PM\tN1 N2 N3\tN4-1 N2-0 N1-0
2\tU2\t11/12/2019 2:15:46 PM\t\tN1-0 N3-1
"""


@pytest.fixture
def files(tmp_path):
    news, behaviors = tmp_path / "news.tsv", tmp_path / "behaviors.tsv"
    news.write_text(NEWS)
    behaviors.write_text(BEHAVIORS)
    return news, behaviors


def iterator(npratio=-1, **overrides):
    sizes = {"title_size": 4, "his_size": 2, "batch_size": 3, "npratio": 2, **overrides}
    return MINDIterator(prepare_hparams("nrms", **sizes), npratio, col_spliter="\t", ID_spliter="%")


def words(reader, title):
    names = {index: word for word, index in zip(reader.vocabularies.words.tokens, range(99), strict=False)}
    return [names[index] for index in title if index]


def test_vocabularies_come_from_the_first_files(files):
    reader = iterator()
    data = reader.load(*files)
    assert "tennis" in reader.vocabularies.words.tokens
    assert len(data.news) == 5
    assert data.users.tolist() == [reader.vocabularies.users[user] for user in data.log.users.to_pylist()]
    other = MINDIterator(reader.hparams, vocabularies=reader.vocabularies)
    assert np.array_equal(other.load(*files).features["title"], data.features["title"])


def test_files_that_hyperparameters_name_are_found_where_users_put_them(files, tmp_path, monkeypatch):
    working, home = tmp_path / "working", tmp_path / "home"
    (home / "glove").mkdir(parents=True)
    working.mkdir()
    monkeypatch.chdir(working)
    monkeypatch.setenv("RECOMMENDERS_MINER_HOME", str(home))
    reader = iterator()
    reader.load(*files)
    assert reader.find("glove.txt") == "glove.txt", "what is nowhere keeps its name, for the error message"
    for place in (home / "glove", files[0].parent):  # the nearest one last
        (place / "glove.txt").touch()
        assert reader.find("glove.txt") == str(place / "glove.txt")
    (working / "glove.txt").touch()
    assert reader.find("glove.txt") == "glove.txt"
    assert reader.find(str(files[0])) == str(files[0])


def test_files_are_read_once_until_they_change(files):
    reader = iterator()
    data = reader.load(*files)
    assert reader.load(*files) is data
    files[1].write_text(BEHAVIORS + "3\tU2\t11/12/2019 2:16:46 PM\t\tN1-1 N3-0\n")
    assert len(reader.load(*files).log) == 3


def test_what_has_to_be_read_first_is_said(files):
    with pytest.raises(NotBuiltError, match="no vocabularies"):
        next(iterator().load_news_from_file(files[0]))
    with pytest.raises(NotBuiltError, match="news file first"):
        next(iterator().load_impression_from_file(files[1]))


def test_training_samples_are_a_click_and_its_negatives(files):
    reader = iterator(npratio=2)
    [batch] = reader.load_data_from_file(*files)
    assert batch["labels"].tolist() == [[1, 0, 0]] * 2
    assert batch["clicked_title_batch"].shape == (2, 2, 4)
    assert batch["candidate_title_batch"].shape == (2, 3, 4)
    for impression, titles in zip(batch["impression_index_batch"][:, 0], batch["candidate_title_batch"], strict=True):
        clicked = ["stocks", "fall"] if impression == 0 else ["a", "very", "long", "title"]
        assert words(reader, titles[0]) == clicked
        others = {" ".join(words(reader, title)) for title in titles[1:]} - {""}
        assert others == ({"rain", "tiger wins again"} if impression == 0 else {"tiger wins again"})
    reader = iterator(npratio=1)
    passes = [next(reader.load_data_from_file(*files))["candidate_title_batch"] for _ in range(9)]
    assert passes[0].shape == (2, 2, 4)
    assert len({titles.tobytes() for titles in passes}) > 1


def test_evaluation_samples_are_every_candidate_with_the_newest_clicks(files):
    reader = iterator()
    batches = list(reader.load_data_from_file(*files))
    assert [len(batch["labels"]) for batch in batches] == [3, 2]
    whole = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    assert whole["impression_index_batch"][:, 0].tolist() == [0, 0, 0, 1, 1]
    assert whole["labels"][:, 0].tolist() == [1, 0, 0, 0, 1]
    history = [" ".join(words(reader, title)) for title in whole["clicked_title_batch"][0]]
    assert history == ["rain", "a very long title"]
    assert not whole["clicked_title_batch"][3].any()
    assert words(reader, whole["candidate_title_batch"][0, 0]) == ["stocks", "fall"]
    users = [reader.vocabularies.users[user] for user in ("U1", "U1", "U1", "U2", "U2")]
    assert whole["user_index_batch"][:, 0].tolist() == users


def test_users_news_and_impressions_in_recommenders_form(files):
    reader = iterator()
    [users] = reader.load_user_from_file(*files)
    assert users["impr_index_batch"].tolist() == [[0], [1]]
    assert users["user_index_batch"].tolist() == [[reader.vocabularies.users[user]] for user in ("U1", "U2")]
    assert users["clicked_title_batch"].shape == (2, 2, 4)

    news = list(reader.load_news_from_file(files[0]))
    assert [index for batch in news for [index] in batch["news_index_batch"].tolist()] == [0, 1, 2, 3, 4]
    titles = np.concatenate([batch["candidate_title_batch"] for batch in news])
    assert not titles[0].any()
    assert words(reader, titles[2]) == ["rain"]

    impressions = list(reader.load_impression_from_file(files[1]))
    assert [(index, rows.tolist(), labels.tolist()) for index, rows, _, labels in impressions] == [
        (0, [4, 2, 1], [1, 0, 0]),
        (1, [1, 3], [0, 1]),
    ]
    assert [user for _, _, user, _ in impressions] == [reader.vocabularies.users[user] for user in ("U1", "U2")]


def test_the_all_iterator_adds_abstracts_and_categories(files):
    sizes = {"news_encoder": "multi_view", "title_size": 4, "body_size": 3, "his_size": 2, "npratio": 2}
    reader = MINDAllIterator(prepare_hparams("nrms", **sizes), 2)
    reader.load(*files)
    plain = MINDIterator(reader.hparams, 2, vocabularies=reader.vocabularies)
    [batch], [without] = reader.load_data_from_file(*files), plain.load_data_from_file(*files)
    assert set(without) < set(batch)
    assert all(np.array_equal(batch[name], without[name]) for name in without)
    [users], news = reader.load_user_from_file(*files), list(reader.load_news_from_file(files[0]))
    whole = {}
    for name, size in {"title": 4, "ab": 3, "vert": 1, "subvert": 1}.items():
        assert batch[f"candidate_{name}_batch"].shape == (2, 3, size)
        whole[name] = np.concatenate([part[f"candidate_{name}_batch"] for part in news])
        assert np.array_equal(users[f"clicked_{name}_batch"][0], whole[name][[2, 3]])  # the newest of the first user
    assert words(reader, whole["ab"][1]) == ["rain", "fall"]
    names = reader.vocabularies
    assert whole["vert"][1:, 0].tolist() == names.categories.encode(["sports", "news", "sports", "finance"])
    assert whole["subvert"][1:3, 0].tolist() == names.subcategories.encode(["golf", "world"])


def dictionaries(folder, **names):
    """Files in Recommenders' form by hyperparameter, the names numbered in their order."""
    files = {key: folder / f"{key}.json" for key in names}
    for key, path in files.items():
        path.write_text(json.dumps({name: place for place, name in enumerate(names[key], start=1)}))
    return {key: str(path) for key, path in files.items()}


def test_dictionaries_take_the_place_of_the_training_files(files, tmp_path):
    given = dictionaries(tmp_path, wordDict_file=["tennis", "rain"], userDict_file=["U2", "U9"])
    reader = iterator(**given)
    assert reader.vocabularies.words.tokens[2:] == ["tennis", "rain"]
    assert reader.vocabularies.users.tokens[2:] == ["U2", "U9"]
    data = reader.load(*files)
    assert data.features["title"][2].tolist() == [3, 0, 0, 0]
    assert data.features["title"][4].tolist() == [1, 1, 0, 0]
    assert set(data.features["category"][1:].tolist()) == {1}
    assert sorted(data.users.tolist()) == [1, 2]
    with_categories = iterator(**given, **dictionaries(tmp_path, vertDict_file=["news", "sports"]))
    assert with_categories.load(*files).features["category"].tolist() == [0, 3, 2, 3, 1]


@pytest.mark.parametrize(
    ("overrides", "known"),
    [
        ({"model_type": "miner"}, {"words": ["rain"], "users": ["U2"]}),
        ({"news_encoder": "knowledge", "entity_embedding": None}, {"words": ["rain"], "users": ["U2"]}),
        ({"userDict_file": None}, {"words": ["rain"], "users": ["U1", "U2"]}),
        ({"wordDict_file": None, "model_type": "miner"}, {"users": ["U2"]}),
    ],
)
def test_what_dictionaries_do_not_give_comes_from_the_training_files(files, tmp_path, overrides, known):
    given = dictionaries(tmp_path, wordDict_file=["rain"], userDict_file=["U2"])
    reader = iterator(**{**given, **overrides})
    assert reader.vocabularies is None
    reader.load(*files)
    for name, tokens in {"categories": ["sports", "finance", "news"], **known}.items():
        assert getattr(reader.vocabularies, name).tokens[2:] == tokens
    assert ("tennis" in reader.vocabularies.words) == ("words" not in known)
