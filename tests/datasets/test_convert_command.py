"""`recommenders-miner convert …`, from files to a split data set."""

import json
import os
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from recommenders_miner.cli import app
from recommenders_miner.datasets.adressa import convert_adressa
from recommenders_miner.errors import DataFormatError, FolderExistsError
from tests.command_line import run
from tests.datasets.read_back import impressions

YAML = """\
news: {file: news.csv, id: id, title: title}
events: {file: clicks.csv, user: user, time: time, news: news}
"""


@pytest.fixture
def schema(tmp_path):
    (tmp_path / "logs.yaml").write_text(YAML)
    (tmp_path / "news.csv").write_text("id,title\n" + "".join(f"n{k},Title {k}\n" for k in range(20)))
    rows = "".join(f"u{k % 4},2024-03-0{k % 5 + 1} 0{k % 10}:00:00,n{7 * k % 20}\n" for k in range(60))
    (tmp_path / "clicks.csv").write_text("user,time,news\n" + rows)
    return tmp_path / "logs.yaml"


def test_own_logs_are_converted_and_then_split(schema, tmp_path):
    out = tmp_path / "[red]o[" / "t]"  # shown as it is, though it looks like markup
    options = ["--negatives", 3, "--window-hours", 48, "--seed", 1]
    output = run("convert", "own", schema, out, *options).replace("\n", "")
    counts = "20 news, 4 users, 20 impressions, 76 candidates, 20 clicks, 40 repeated clicks left out"
    assert f"all: {counts}" in output
    assert f"Written to {out}." in output
    assert f"recommenders-miner split {out / 'all'}" in output
    data = tmp_path / "[bold]d[" / "x]"
    assert f"Written to {data}." in run("split", out / "all", data, "--dev-share", 0.3).replace("\n", "")
    log = [*impressions(data / "train"), *impressions(data / "dev")]
    for _, user, time, history, _ in impressions(data / "dev"):
        past = [shown for _, who, when, _, shown in log if who == user and when < time]
        assert history == [next(item for item, label in shown.items() if label) for shown in past]
    with pytest.raises(FolderExistsError):
        run("convert", "own", schema, out)
    run("convert", "own", schema, out, "--overwrite")


def test_what_was_left_out_is_shown(schema, tmp_path):
    (tmp_path / "clicks.csv").write_text((tmp_path / "clicks.csv").read_text() + "u1,2024-03-01,gone\n")
    with pytest.raises(DataFormatError, match=r"clicks\.csv, line 62: the article 'gone'"):
        run("convert", "own", schema, tmp_path / "out")
    output = run("convert", "own", schema, tmp_path / "out", "--on-error", "skip", "--draw", "uniform")
    assert "1 (event of an article that is not among the news)" in output


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--draw", "best"), ("--on-error", "ignore"), ("--negatives", "0"), ("--window-hours", "0")),
        *(("--window-hours", "1e9"), ("--max-history", "-1"), ("--seed", "-1")),
    ],
)
def test_options_out_of_range_are_refused(schema, tmp_path, option, value):
    result = CliRunner().invoke(app, ["convert", "own", str(schema), str(tmp_path / "out"), option, value])
    assert result.exit_code == 2
    assert option in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.name != "posix" or sys.platform == "darwin", reason="names of files are texts there")
def test_a_source_whose_name_is_no_text_is_written_down_all_the_same(tmp_path, caplog):
    caplog.set_level("ERROR", "recommenders_miner")  # xdist cannot send a warning with such a name
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / "20170101").write_text(json.dumps({"userId": "u", "time": 10**9, "id": "i", "title": "t"}) + "\n")
    convert_adressa(folder, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "conversion.json").read_text())["source"] == str(folder)


def test_a_mount_point_is_refused_before_anything_is_read(tmp_path, monkeypatch):
    (tmp_path / "disk").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) == str(tmp_path / "disk"))
    for words in (["convert", "adressa", "nowhere"], ["split", "nowhere"], ["demo-data"], ["export", "nowhere"]):
        result = CliRunner().invoke(app, [*words, str(tmp_path / "disk")])
        assert "it is a mount point" in str(result.exception), words


def test_ebnerd_adressa_and_xmind_have_their_commands(tmp_path):
    bundle = tmp_path / "bundle"
    (bundle / "train").mkdir(parents=True)
    columns = {"article_id": [1, 2], "title": ["a", "b"], "subtitle": ["", ""], "category_str": ["x", "y"]}
    pq.write_table(pa.table(columns | {"subcategory": [[1], [2]], "url": ["", ""]}), bundle / "articles.parquet")
    behaviors = {"impression_id": [1], "user_id": [1], "article_ids_inview": [[1, 2]], "article_ids_clicked": [[2]]}
    time = pa.array([10**9]).cast(pa.timestamp("s")).cast(pa.timestamp("us"))
    pq.write_table(pa.table(behaviors | {"impression_time": time}), bundle / "train" / "behaviors.parquet")
    pq.write_table(pa.table({"user_id": [1], "article_id_fixed": [[1, 1]]}), bundle / "train" / "history.parquet")
    assert "train: 1 impressions" in run("convert", "ebnerd", bundle, tmp_path / "ebnerd", "--max-history", 1)
    assert impressions(tmp_path / "ebnerd" / "train") == [(1, "1", 10**9, ["1"], {"1": 0, "2": 1})]
    assert not (tmp_path / "ebnerd" / "train" / "articles.parquet").exists()  # nothing more is known

    (tmp_path / "20170101").write_text(json.dumps({"userId": "u", "time": 10**9, "id": "i", "title": "t"}) + "\n")
    assert "all: 1 news, 1 users, 1 impressions, 1 candidates, 1 clicks, 1 impressions without a negative" in run(
        "convert", "adressa", tmp_path / "20170101", tmp_path / "adressa"
    )
    assert impressions(tmp_path / "adressa" / "all") == [(1, "u", 10**9, [], {"i": 1})]

    (tmp_path / "xmind.tsv").write_text("nid\ttitle\tabstract\n1\täiti\t\n")
    output = run("convert", "xmind", tmp_path / "ebnerd", tmp_path / "out", "--texts", tmp_path / "xmind.tsv")
    assert "train: 2 news, 1 news in their own language" in output.replace("\n", "")
    assert "\täiti\t" in (tmp_path / "out" / "train" / "news.tsv").read_text()
