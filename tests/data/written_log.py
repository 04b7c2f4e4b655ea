"""Small behaviors.tsv files and what stands in logs, for tests of reading and caching them."""

from datetime import UTC, datetime

import numpy as np

from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.ragged import Ragged

DTYPES = {
    "candidates": np.int32,
    "labels": np.int8,
    "offsets": np.int64,
    "histories": np.int32,
    "history_offsets": np.int64,
    "history_of": np.int32,
    "user_of": np.int32,
    "time": np.int64,
    "impression_id": np.int64,
}


def is_mapped(array):
    """Whether an array is a view of a file that is mapped into memory."""
    while array is not None and not isinstance(array, np.memmap):
        array = array.base if isinstance(array, np.ndarray) else None
    return array is not None


def make_news(*ids):
    return NewsTable.from_columns(ids, [f"Title of {news_id}" for news_id in ids])


NEWS = make_news("N1", "N2", "N3", "N4-x")


def line(
    impressions="N1-0 N2-1",
    history="N1 N2",
    number="1",
    user="U1",
    time="11/12/2019 2:14:46 PM",
    separator="\t",
):
    return separator.join([number, user, time, history, impressions])


def write(folder, *lines, end="\n", name="behaviors.tsv"):
    path = folder / name
    path.write_bytes("".join(text + end for text in lines).encode())
    return path


def read(path, news=NEWS, **options):
    return ImpressionLog.read(path, news, **{"cache": False} | options)


def impressions(log):
    """The log as plain Python, one tuple per impression."""
    labels = Ragged(log.labels, log.candidates.offsets)
    return [
        (
            int(log.impression_id[i]),
            log.users[int(log.user_of[i])].as_py(),
            int(log.time[i]),
            log.history(log.history_of[i]).tolist(),
            log.candidates[i].tolist(),
            labels[i].tolist(),
        )
        for i in range(len(log))
    ]


def arrays_of(log):
    ragged = {"candidates": log.candidates.values, "offsets": log.candidates.offsets}
    ragged |= {"histories": log.histories.values, "history_offsets": log.histories.offsets}
    return {name: ragged[name] if name in ragged else getattr(log, name) for name in DTYPES}


def assert_same(one, other):
    for name, array in arrays_of(one).items():
        np.testing.assert_array_equal(array, arrays_of(other)[name], err_msg=name)
    assert one.users.equals(other.users)
    assert one.skipped == other.skipped


def seconds(*time):
    return int(datetime(*time, tzinfo=UTC).timestamp())
