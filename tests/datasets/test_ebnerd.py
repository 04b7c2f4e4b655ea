"""EB-NeRD, in its own schema, by hand."""

import shutil
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recommenders_miner.data import write as tsv_writer
from recommenders_miner.datasets import columns, convert_ebnerd
from recommenders_miner.errors import DataFormatError
from tests.datasets.read_back import articles, impressions, news, read_back

IDS = pa.list_(pa.int32())
ARTICLES = pa.schema(
    {"article_id": pa.int32(), "title": pa.string(), "subtitle": pa.string(), "last_modified_time": pa.timestamp("us")}
    | {"premium": pa.bool_(), "body": pa.string(), "published_time": pa.timestamp("us"), "url": pa.string()}
    | {"article_type": pa.string(), "topics": pa.list_(pa.string()), "category": pa.int16()}
    | {"subcategory": pa.list_(pa.int16()), "category_str": pa.string(), "total_inviews": pa.int32()}
    | {"sentiment_score": pa.float32(), "sentiment_label": pa.string()}
)
BEHAVIORS = pa.schema(
    {"impression_id": pa.uint32(), "article_id": pa.int32(), "impression_time": pa.timestamp("us")}
    | {"read_time": pa.float32(), "article_ids_inview": IDS, "article_ids_clicked": IDS, "user_id": pa.uint32()}
    | {"is_sso_user": pa.bool_(), "is_beyond_accuracy": pa.bool_()}
)
HISTORY = pa.schema({"user_id": pa.uint32(), "article_id_fixed": IDS, "read_time_fixed": pa.list_(pa.float32())})
MOMENT = datetime(2023, 5, 21, 21, 6, 50, 123456)
SECONDS = 1684703210


def write(path, schema, rows):
    """Writes rows that name only some of the columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {name: pa.array([row.get(name) for row in rows], schema.field(name).type) for name in schema.names}
    )
    pq.write_table(table, path)


def article(number, **more):
    return {"article_id": number, "title": f"Overskrift {number}", "url": f"https://example.org/{number}"} | more


KNOWN = {"body": "Langt", "premium": True, "article_type": "article_default", "topics": ["Sport"]}
KNOWN |= {"sentiment_score": 0.75, "sentiment_label": "Positive"}


def shown(number, user, in_view, clicked, **more):
    row = {"impression_id": number, "user_id": user, "impression_time": MOMENT, "article_ids_inview": in_view}
    return row | {"article_ids_clicked": clicked} | more


ALL_ARTICLES = [
    article(3001, subtitle="Kort\nfortalt", published_time=MOMENT, total_inviews=9, category_str="sport")
    | {"subcategory": [196, 271]}
    | KNOWN,
    article(3002, category_str="nyheder", subcategory=[]),
    article(3003, title=None, category_str="nyheder"),
    article(3000, category_str="krimi", subcategory=[5]),
    article(3009),
]
TRAIN = [
    shown(48401, 13538, [3001, 3002, 3003], [3002]),
    shown(152513, 7, [3002, 3000], [3000], article_id=3003),
    shown(214679, 13538, [3003, 3001], []),
]
HISTORIES = [
    {"user_id": 13538, "article_id_fixed": [3000, 3001, 3000], "read_time_fixed": [1.0, 2.0, 3.0]},
    {"user_id": 9, "article_id_fixed": None},
]


@pytest.fixture
def bundle(tmp_path):
    """Writes a bundle, whose parts can be changed, and gives its folder."""

    def make(articles=ALL_ARTICLES, train=TRAIN, validation=TRAIN[:1], history=HISTORIES, schema=BEHAVIORS):
        folder = tmp_path / "ebnerd_demo"
        write(folder / "articles.parquet", ARTICLES, articles)
        for split, rows in (("train", train), ("validation", validation)):
            write(folder / split / "behaviors.parquet", schema, rows)
            write(folder / split / "history.parquet", HISTORY, history)
        return folder

    return make


def test_impressions_keep_ids_times_labels_and_the_users_history_and_are_counted(bundle, tmp_path):
    conversion = convert_ebnerd(bundle(train=[*TRAIN, shown(5, 13538, [3001], [3002])]), tmp_path / "out")
    history = ["3000", "3001", "3000"]
    assert impressions(tmp_path / "out" / "train") == [
        (48401, "13538", SECONDS, history, {"3001": 0, "3002": 1, "3003": 0}),
        (152513, "7", SECONDS, [], {"3002": 0, "3000": 1}),
        (214679, "13538", SECONDS, history, {"3003": 0, "3001": 0}),
        (5, "13538", SECONDS, history, {"3001": 0, "3002": 1}),
    ]
    assert [row[0] for row in impressions(tmp_path / "out" / "dev")] == [48401]
    counts = {"impressions": 4, "candidates": 9, "clicks": 3, "news": 4}
    decided = dict.fromkeys(("impressions of users without a history", "clicks that were not in view"), 1)
    assert conversion.counts["train"] == counts | decided


def test_the_files_of_articles_hold_those_of_their_split_with_what_is_known_of_them(bundle, tmp_path):
    convert_ebnerd(bundle(), tmp_path / "out")
    assert news(tmp_path / "out" / "train") == {
        "3001": ("sport", "196", "Overskrift 3001", "Kort fortalt"),
        "3002": ("nyheder", "", "Overskrift 3002", ""),
        "3003": ("nyheder", "", "", ""),
        "3000": ("krimi", "5", "Overskrift 3000", ""),
    }
    line = (tmp_path / "out" / "train" / "news.tsv").read_text().splitlines()[0]
    assert line.split("\t")[5:] == ["https://example.org/3001", "[]", "[]"]
    found = articles(tmp_path / "out" / "train")
    assert found["3001"] == {"published": SECONDS} | KNOWN  # counts of views know the future
    assert found["3000"] == dict.fromkeys(found["3001"])


@pytest.mark.parametrize(("kept", "history"), [(2, ["3001", "3000"]), (0, []), (9, ["3000", "3001", "3000"])])
def test_histories_can_be_cut_to_the_newest_clicks(bundle, tmp_path, kept, history):
    convert_ebnerd(bundle(), tmp_path / "out", max_history=kept)
    assert impressions(tmp_path / "out" / "train")[0][3] == history


def test_a_test_set_has_no_labels(bundle, tmp_path):
    schema = BEHAVIORS.remove(BEHAVIORS.get_field_index("article_ids_clicked"))
    folder = tmp_path / "ebnerd_testset"
    write(folder / "articles.parquet", ARTICLES, [article(4001), article(4002)])
    rows = [shown(0, 1, [4001, 4002], None, is_beyond_accuracy=True), shown(0, 2, [4002], None)]
    write(folder / "test" / "behaviors.parquet", schema, rows)
    write(folder / "test" / "history.parquet", HISTORY, [{"user_id": 1, "article_id_fixed": [4002]}])
    convert_ebnerd(bundle(), tmp_path / "out", folder)
    _, log = read_back(tmp_path / "out" / "test")
    assert not log.labelled
    assert impressions(tmp_path / "out" / "test") == [
        (0, "1", SECONDS, ["4002"], {"4001": -1, "4002": -1}),
        (0, "2", SECONDS, [], {"4002": -1}),
    ]
    assert (tmp_path / "out" / "test" / "behaviors.tsv").read_text().endswith("\t\t4002\n")


@pytest.mark.parametrize(("batch_rows", "tokens"), [(1, 1), (2, 3)])
def test_batches_of_any_size_give_the_same_bytes(bundle, tmp_path, monkeypatch, batch_rows, tokens):
    folder = bundle()
    convert_ebnerd(folder, tmp_path / "whole")
    monkeypatch.setattr(columns, "BATCH_ROWS", batch_rows)
    monkeypatch.setattr(tsv_writer, "BLOCK_TOKENS", tokens)
    convert_ebnerd(folder, tmp_path / "out")
    for name in ("train/news.tsv", "train/behaviors.tsv", "dev/behaviors.tsv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"train": shown(1, 7, [3001, 77], [77])}, "line 2: the article 77, column 'article_ids_inview', is not"),
        ({"train": shown(1, 7, [3001], [77])}, "line 2: the article 77, column 'article_ids_clicked', is not"),
        ({"train": shown(1, 7, [], [])}, "line 2: nothing is in view: column 'article_ids_inview'"),
        ({"train": shown(None, 7, [3001], [])}, "line 2: column 'impression_id' has no usable value"),
        ({"train": shown(1, None, [3001], [])}, "line 2: column 'user_id' has no usable value"),
        ({"train": shown(1, 7, [3001], [], impression_time=None)}, "line 2: column 'impression_time' has no usable"),
        ({"history": HISTORIES[0]}, "history.parquet, line 3: the user 13538, column 'user_id', came before"),
        ({"history": {"user_id": 1, "article_id_fixed": [77]}}, "history.parquet, line 3: the article 77"),
        ({"articles": article(3000)}, "articles.parquet, line 6: the article 3000, .* came before"),
    ],
)
def test_a_bad_row_is_named_or_left_out_and_counted(bundle, tmp_path, bad, says):
    good = {"train": TRAIN[:1], "history": HISTORIES, "articles": ALL_ARTICLES}
    folder = bundle(**{name: [*good[name], row] for name, row in bad.items()})
    with pytest.raises(DataFormatError, match=says):
        convert_ebnerd(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    conversion = convert_ebnerd(folder, tmp_path / "out", on_error="skip")
    assert conversion.left_out
    assert impressions(tmp_path / "out" / "train")[0][0] == 48401


def test_skipping_leaves_unknown_articles_out_of_sound_impressions(bundle, tmp_path):
    folder = bundle(train=[shown(1, 7, [3001, 77, 3002], [3002]), shown(2, 7, [77], [77])])
    convert_ebnerd(folder, tmp_path / "out", on_error="skip")
    assert impressions(tmp_path / "out" / "train") == [(1, "7", SECONDS, [], {"3001": 0, "3002": 1})]


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        ("impression_time", None, r"no column 'impression_time'; .*Did you mean 'impression_id'\?"),
        ("article_ids_clicked", None, "no column 'article_ids_clicked'; only the test set may lack it"),
        ("impression_id", ["1"] * 3, "column 'impression_id' holds string; expected whole numbers"),
        ("article_ids_inview", ["3001"] * 3, "column 'article_ids_inview' holds string; expected lists"),
    ],
)
def test_a_missing_column_names_the_nearest_and_a_wrong_type_what_was_found(bundle, tmp_path, column, values, says):
    path = bundle() / "train" / "behaviors.parquet"
    table = pq.read_table(path).drop_columns(column)
    pq.write_table(table if values is None else table.append_column(column, pa.array(values)), path)
    with pytest.raises(DataFormatError, match=says):
        convert_ebnerd(tmp_path / "ebnerd_demo", tmp_path / "out")


def test_missing_files_and_folders_are_errors(bundle, tmp_path):
    folder = bundle()
    (folder / "train" / "history.parquet").unlink()
    with pytest.raises(DataFormatError, match=r"history\.parquet: the path does not exist"):
        convert_ebnerd(folder, tmp_path / "out")
    with pytest.raises(DataFormatError, match=r"nowhere: the path does not exist; expected the folder of a bundle"):
        convert_ebnerd(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataFormatError, match="holds none of the folders train, validation, test"):
        convert_ebnerd(tmp_path / "empty", tmp_path / "out")
    archive = shutil.make_archive(tmp_path / "ebnerd_demo", "zip", folder)
    says = r"ebnerd_demo\.zip: is a zip file.*expected the folder of a bundle.*unzip ebnerd_demo\.zip"
    for options in ({"bundle": archive}, {"bundle": bundle(), "test": archive}):
        with pytest.raises(DataFormatError, match=says):
            convert_ebnerd(**options, out=tmp_path / "out")
    shutil.copytree(folder, tmp_path / "both").joinpath("articles.parquet").unlink()  # refused before it is read
    with pytest.raises(DataFormatError, match=r"both: holds train, validation, as .+ebnerd_demo does; expected test"):
        convert_ebnerd(bundle(), tmp_path / "out", test=tmp_path / "both")
    with pytest.raises(DataFormatError, match="is a Parquet file; expected the folder of a bundle"):
        convert_ebnerd(folder / "articles.parquet", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("articles.parquet", b"PAR1", b""),
        ("train/history.parquet", b"article_id_fixed", b"article_id_\x92ixed"),  # a footer that is no text
        # A footer whose columns are at odds with its schema. Asked for their metadata, pyarrow 26 ends the process.
        ("train/history.parquet", b"5\x04\x18\x04list", b"4\x04\x18\x04list"),
    ],
)
def test_a_damaged_file_is_an_error(bundle, tmp_path, name, good, bad):
    path = bundle() / name
    content = path.read_bytes()
    path.write_bytes(content[:4] + content[4:].replace(good, bad))
    with pytest.raises(DataFormatError, match=r"\.parquet: is not readable as Parquet"):
        convert_ebnerd(tmp_path / "ebnerd_demo", tmp_path / "out")
