"""What a converter wrote, as the package reads it."""

from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable


def read_back(folder):
    """The news table and the log of a split."""
    news = NewsTable.read(folder / "news.tsv")
    return news, ImpressionLog.read(folder / "behaviors.tsv", news, cache=False)


def impressions(folder):
    """The impressions of a split: (id, user, time, history, {news: label}), in the order of the file."""
    news, log = read_back(folder)
    ids = news.ids.to_pylist()
    found = []
    for k in range(len(log)):
        history = log.histories.values[slice(*log.histories.offsets[log.history_of[k] :][:2])]
        shown = slice(*log.candidates.offsets[k:][:2])
        found.append(
            (
                int(log.impression_id[k]),
                log.users[int(log.user_of[k])].as_py(),
                int(log.time[k]),
                [ids[row] for row in history],
                {
                    ids[row]: int(label)
                    for row, label in zip(log.candidates.values[shown], log.labels[shown], strict=True)
                },
            )
        )
    return found


def news(folder):
    """The news of a split by id: (category, subcategory, title, abstract)."""
    table = NewsTable.read(folder / "news.tsv")
    columns = [column.to_pylist()[1:] for column in (table.category, table.subcategory, table.title, table.abstract)]
    return dict(zip(table.ids.to_pylist()[1:], zip(*columns, strict=True), strict=True))
