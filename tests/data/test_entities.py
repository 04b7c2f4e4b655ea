"""Entities of titles: MIND's JSON, their ids, and the vocabularies that know them; names in a file of vectors."""

from __future__ import annotations

import json

import keras_hub
import numpy as np
import pytest

from recommenders_miner.data.entities import graph_neighbours, news_neighbours, title_entities, word_entities
from recommenders_miner.data.features import NewsFeatures
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.pieces import Pieces
from recommenders_miner.data.vocabularies import TrainingTables, Vocabularies
from recommenders_miner.data.vocabulary import Vocabulary
from recommenders_miner.errors import DataFormatError, HParamsError
from recommenders_miner.hparams import prepare_hparams


def mind(*wikidata_ids):
    """A title's entities as they stand in MIND's news.tsv."""
    return json.dumps(
        [
            {
                "Label": f"label of {name}",
                "Type": "C",
                "WikidataId": name,
                "Confidence": 0.9,
                "OccurrenceOffsets": [0],
                "SurfaceForms": ["Rain"],
            }
            for name in wikidata_ids
        ]
    )


def table(*entities):
    return NewsTable.from_columns(
        ids=[f"N{number}" for number in range(1, len(entities) + 1)],
        titles=[f"Title {number}" for number in range(1, len(entities) + 1)],
        title_entities=entities,
    )


NEWS = table(mind("Q5", "Q3"), "[]", mind("Q3", "Q7", "Q3", "Q1", "Q9"), "")


HPARAMS = prepare_hparams("nrms", news_encoder="knowledge", entity_size=3, title_size=4, entity_embedding=None)


@pytest.fixture
def build(tmp_path):
    """Builds vocabularies of words, entities and more, given the entities that have vectors."""

    def build(news=NEWS, vectors=(), names=("words", "categories", "subcategories", "users", "entities"), **options):
        log = ImpressionLog.from_columns(news, histories=[[]], candidates=[["N1"]], labels=[[1]], users=["U1"])
        file = tmp_path / "entity_embedding.vec"
        file.write_text("".join(f"{name}\t1\t2\n" for name in vectors))
        hparams = HPARAMS.replace(entity_embedding=str(file) if vectors else None, **options)
        return Vocabularies.build(names, TrainingTables(news, log, hparams, frozenset()))

    return build


def names(vocabularies):
    return vocabularies.entities.tokens[2:]


def features(news, vocabularies, **options):
    return NewsFeatures(news, vocabularies, HPARAMS.replace(**options))


def test_a_title_has_its_wikidata_ids_once_in_their_order():
    assert title_entities(NEWS) == [["Q5", "Q3"], [], ["Q3", "Q7", "Q1", "Q9"], []]


@pytest.mark.parametrize(
    "text",
    [
        *("[{", "rain", mind("Q1") + "]", '{"WikidataId": "Q1"}', "null", '["Q1"]', '[{"Label": "Rain"}]'),
        *('[{"WikidataId": 5}]', '[{"WikidataId": ""}]', '[{"WikidataId": "Q\\n1"}]', '[{"WikidataId": "\\ud800"}]'),
        '[{"WikidataId": "Q1", "OccurrenceOffsets": ["x"], "SurfaceForms": ["a"]}]',
        '[{"WikidataId": "Q1", "OccurrenceOffsets": [1], "SurfaceForms": [2]}]',
        '[{"WikidataId": "Q1", "OccurrenceOffsets": 3}]',
    ],
)
def test_damaged_entities_name_their_article(text, build):
    news = table(mind("Q1"), text, mind("Q2"))
    with pytest.raises(DataFormatError, match=r"title entities of news N2: expected a JSON list") as caught:
        word_entities(news, 5)
    assert repr(text)[:60] in str(caught.value)
    with pytest.raises(DataFormatError, match="news N2"):
        build(news)


def test_damaged_entities_of_a_file_name_it_and_the_line(tmp_path):
    lines = [f"N{k}\ta\tb\tTitle\t\t\t{of}\t[]\n" for k, of in enumerate(["[]", mind("Q1"), mind("Q2"), "[{"])]
    (tmp_path / "news.tsv").write_text("".join([lines[0], *lines]))
    news = NewsTable.read(tmp_path / "news.tsv")
    for table in (news, news.select(["N3", "N1"])):
        says = r"news\.tsv, line 5: the title entities of news N3: expected a JSON list.*'\[\{'.*write \[\]"
        with pytest.raises(DataFormatError, match=says):
            title_entities(table)


def test_entities_are_ids_at_the_left_of_their_row(build):
    vocabularies = build(vectors=["Q1"])
    feature = features(NEWS, vocabularies)["entities"]
    q1, q5, q3, q7 = 2, 3, 4, 5
    assert names(vocabularies)[:4] == ["Q1", "Q5", "Q3", "Q7"]
    assert feature.tolist() == [[0, 0, 0], [q5, q3, 0], [0, 0, 0], [q3, q7, q1], [0, 0, 0]]
    assert feature.dtype == np.int32
    other = table(mind("Q3", "Q404", "Q3", "Q5"), " [ ] ", None)
    assert features(other, vocabularies, entity_size=3)["entities"].tolist() == [[0] * 3, [q3, 1, q5], [0] * 3, [0] * 3]


def test_entities_with_vectors_come_before_those_of_the_titles(build):
    assert names(build(vectors=["Q9", "Q2", "Q3", "Q2"])) == ["Q9", "Q2", "Q3", "Q5", "Q7", "Q1"]
    assert names(build()) == ["Q5", "Q3", "Q7", "Q1", "Q9"]


def test_entities_of_a_further_file_join_where_it_is_there(build, tmp_path):
    further = tmp_path / "dev.vec"
    assert names(build(vectors=["Q9", "Q2"], more_entities=str(further))) == ["Q9", "Q2", "Q5", "Q3", "Q7", "Q1"]
    further.write_text("Q2\t5\t6\nQ8\t7\t8\n")
    assert names(build(vectors=["Q9", "Q2"], more_entities=str(further))) == ["Q9", "Q2", "Q8", "Q5", "Q3", "Q7", "Q1"]
    assert "Q8" not in names(build(more_entities=str(further))), "there being no first"


def test_without_a_wish_for_entities_they_are_not_read(build):
    plain = build(table(mind("Q1"), "[{"), names=["words"])
    assert "entities" not in plain
    with pytest.raises(HParamsError, match="no vocabulary of entities: it has words"):
        plain.entities  # noqa: B018


def test_vocabularies_with_entities_come_back_from_their_folder(build, tmp_path):
    saved = build(vectors=["Q2"])
    saved.save(tmp_path / "model")
    lines = ["<padding>", "<unknown>", "Q2", "Q5", "Q3", "Q7", "Q1", "Q9"]
    assert (tmp_path / "model" / "entities.txt").read_text().splitlines() == lines
    loaded = Vocabularies.load(tmp_path / "model")
    assert loaded.parts.keys() == saved.parts.keys()
    assert all(loaded.parts[name].tokens == saved.parts[name].tokens for name in saved.parts)
    assert loaded.words["title"] > 1
    (tmp_path / "model" / "entities.txt").write_text("Q2\n")
    with pytest.raises(DataFormatError, match=r"entities\.txt"):
        Vocabularies.load(tmp_path / "model")


def test_vocabularies_with_pieces_bring_their_tokenizer_along(build, tmp_path):
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "title", "##s"]
    keras_hub.models.BertTokenizer(vocabulary=vocabulary, lowercase=True).save_to_preset(str(tmp_path / "preset"))
    Vocabularies({**build().parts, "pieces": Pieces(tmp_path / "preset")}).save(tmp_path / "model")
    (tmp_path / "preset" / "tokenizer.json").unlink()
    (tmp_path / "model").rename(tmp_path / "elsewhere")
    loaded = Vocabularies.load(tmp_path / "elsewhere")
    assert loaded.pieces.encode(["Titles", "rain"], 5) == [[3, 6, 7, 4], [3, 2, 4]]
    assert features(NEWS, loaded)["pieces"].tolist() == [[0, 0, 0, 0]] + [[3, 6, 2, 4]] * 4


def placed(name, *occurrences):
    """An entity with its occurrences, (offset, surface form) each."""
    return {
        "WikidataId": name,
        "OccurrenceOffsets": [offset for offset, _ in occurrences],
        "SurfaceForms": [form for _, form in occurrences],
    }


def one_title(title, *entities):
    return NewsTable.from_columns(ids=["N1"], titles=[title], title_entities=[json.dumps(list(entities))])


def test_words_belong_to_the_entities_that_they_overlap():
    title = "New York's mayor meets Mr. O'Neil in New York"
    news = one_title(title, placed("Q60", (0, "New York's"), (37, "New York")), placed("Q7", (23, "Mr. O'Neil")))
    words = ["new", "york", "s", "mayor", "meets", "mr", ".", "o", "neil", "in", "new", "york"]
    owners = ["Q60", "Q60", "Q60", "", "", "Q7", "Q7", "Q7", "Q7", "", "Q60", "Q60"]
    assert word_entities(news, 20) == [owners]
    assert word_entities(news, 4) == [owners[:4]]
    assert len(words) == len(owners)


def test_of_two_entities_over_one_word_the_first_counts():
    news = one_title("Paris Hilton", placed("Q1", (0, "Paris Hilton")), placed("Q2", (0, "Paris")))
    assert word_entities(news, 5) == [["Q1", "Q1"]]


def test_entities_without_a_place_or_beyond_the_title_own_no_word():
    news = one_title("Rain", {"WikidataId": "Q1"}, placed("Q2", (40, "Sun")), placed("Q3"))
    assert word_entities(news, 5) == [[""]]
    assert title_entities(news) == [["Q1", "Q2", "Q3"]]


def test_word_entities_are_a_feature_beside_the_title(build):
    news = one_title("Rain over New York", placed("Q60", (10, "New York")), placed("Q9", (0, "Rain")))
    known = build(news, vectors=["Q60"])
    expected = [[0] * 4, [known.entities["Q9"], 0, known.entities["Q60"], known.entities["Q60"]]]
    assert features(news, known)["word_entities"].tolist() == expected
    unknown = features(news, build(table("[]"), vectors=["Q60"]))["word_entities"]
    assert unknown[1].tolist() == [1, 0, 2, 2]


def test_neighbours_share_an_article_in_title_or_abstract():
    news = NewsTable.from_columns(
        ids=["N1", "N2", "N3"],
        titles=["a", "b", "c"],
        title_entities=[mind("Q1", "Q2"), mind("Q3"), mind("Q1", "Q2")],
        abstract_entities=[mind("Q3"), mind("Q4", "stranger"), "[]"],
    )
    names = Vocabulary(["Q1", "Q2", "Q3", "Q4"])
    joined = {tuple(names.tokens[i] for i in pair) for pair in news_neighbours(news, names)}
    both_ways = {("Q1", "Q2"), ("Q1", "Q3"), ("Q2", "Q3"), ("Q3", "Q4")}
    assert joined == both_ways | {pair[::-1] for pair in both_ways}
    assert len(news_neighbours(news, names)) == len(joined)
    assert news_neighbours(table("[]"), names).shape == (0, 2)


def test_neighbours_of_a_graph(tmp_path):
    path = tmp_path / "triples.tsv"
    path.write_text("Q1\tP1\tQ2\nQ2\tP5\tQ1\nQ3\tP1\tQ3\nQ9\tP1\tQ1\n")
    assert graph_neighbours(path, Vocabulary(["Q1", "Q2", "Q3"])).tolist() == [[2, 3], [3, 2]]
    path.write_text("Q1\tP1\tQ2\nQ1 Q2\n")
    with pytest.raises(DataFormatError, match="line 2"):
        graph_neighbours(path, Vocabulary(["Q1", "Q2"]))
    with pytest.raises(DataFormatError, match="does not exist"):
        graph_neighbours(tmp_path / "nowhere.tsv", Vocabulary(["Q1"]))
