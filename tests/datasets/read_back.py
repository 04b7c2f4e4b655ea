"""What a converter wrote, as the package reads it."""

import pyarrow.parquet as pq

from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.ragged import Ragged


def read_back(folder):
    """The news table and the log of a split."""
    news = NewsTable.read(folder / "news.tsv")
    return news, ImpressionLog.read(folder / "behaviors.tsv", news, cache=False)


def impressions(folder):
    """The impressions of a split: (id, user, time, history, {article: label}), in the order of the file."""
    table, log = read_back(folder)
    ids, users, labels = table.ids.to_pylist(), log.users.to_pylist(), Ragged(log.labels, log.candidates.offsets)
    return [
        (
            int(log.impression_id[k]),
            users[log.user_of[k]],
            int(log.time[k]),
            [ids[row] for row in log.histories[log.history_of[k]]],
            {ids[row]: int(label) for row, label in zip(log.candidates[k], labels[k], strict=True)},
        )
        for k in range(len(log))
    ]


def news(folder):
    """The articles of a split by id: (category, subcategory, title, abstract)."""
    table = NewsTable.read(folder / "news.tsv")
    columns = [column.to_pylist()[1:] for column in (table.category, table.subcategory, table.title, table.abstract)]
    return dict(zip(table.ids.to_pylist()[1:], zip(*columns, strict=True), strict=True))


def articles(folder):
    """The rows of articles.parquet by id, whose order has to be that of news.tsv."""
    rows = pq.read_table(folder / "articles.parquet").to_pylist()
    assert [row["id"] for row in rows] == list(news(folder))
    return {row.pop("id"): row for row in rows}
