"""The splits of a data set as one log over one table of news."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.folders import BEHAVIORS_FILE, NEWS_FILE
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import FILE_COLUMNS, NewsTable
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.data.tsv import LineFaults, read_tsv
from recommenders_miner.errors import DataFormatError

LOGGER = logging.getLogger("recommenders_miner")


@dataclass(frozen=True)
class PooledLog:
    """Several logs as one, in their order.

    Attributes:
        log: the impressions; its news are rows of `news`, the first one being 0. Impression ids are the files' own
            where they are all distinct, else 1 … I.
        news: the news, each once, as eight columns of strings; the url is among them.
    """

    log: ImpressionLog
    news: pa.Table

    @classmethod
    def read(cls, folders: Mapping[str, Path]) -> Self:
        """Reads splits. One without labels is left out, with a warning, since it has no clicks.

        Where two splits describe a news differently, the first one's description counts, and a warning is logged.

        Args:
            folders: each with news.tsv and behaviors.tsv, by name.

        Raises:
            DataFormatError: a file is missing or faulty, or no split has labels.
        """
        logs, tables, files = [], [], []
        for name, folder in folders.items():
            table = NewsTable.read(folder / NEWS_FILE)
            log = ImpressionLog.read(folder / BEHAVIORS_FILE, table, cache=False)
            if not log.labelled:
                LOGGER.warning("%s has no labels, and is left out: nobody knows what was clicked in it.", name)
                continue
            logs.append(log)
            tables.append(table)
            files.append(_read_news(folder / NEWS_FILE))
        if not logs:
            raise DataFormatError(
                next(iter(folders.values())),
                "there are no labels: nobody knows what was clicked.",
                remedy="Candidates need to be written as N123-1 (clicked) and N456-0 (not clicked).",
            )
        news = _distinct_news(files)
        rows = [pc.index_in(table.ids, value_set=_ids(news)).fill_null(0).to_numpy() for table in tables]
        return cls(_join(logs, rows), news)

    @property
    def news_ids(self) -> pa.StringArray:
        """The id of each news."""
        return _ids(self.news)


def _ids(news: pa.Table) -> pa.StringArray:
    return news["news id"].combine_chunks()


def _read_news(path: Path) -> pa.Table:
    """All lines of a news file that `NewsTable` has accepted, as they stand in the file."""
    return pa.concat_tables([block for block, _ in read_tsv(path, FILE_COLUMNS, LineFaults(path, "raise"))])


def _distinct_news(files: Sequence[pa.Table]) -> pa.Table:
    """The lines that describe a news for the first time."""
    news = pa.concat_tables(files)
    described = news.drop_columns("url").group_by(news.drop_columns("url").column_names).aggregate([]).num_rows
    first = np.unique(_ids(news).dictionary_encode().indices.to_numpy(), return_index=True)[1]
    if described > len(first):
        LOGGER.warning(
            "%s news have another category, title, abstract or entities in a later split; their first description "
            "is kept.",
            f"{described - len(first):,}",
        )
    return news.take(np.sort(first))


def _join(logs: Sequence[ImpressionLog], rows: Sequence[np.ndarray]) -> ImpressionLog:
    """Joins logs, the news of each given as rows of the joint table."""
    users = pa.chunked_array(
        [pa.DictionaryArray.from_arrays(log.user_of, log.users) for log in logs]
    ).unify_dictionaries()
    first_history = np.cumsum([0, *(len(log.histories) for log in logs)])
    ids = np.concatenate([log.impression_id for log in logs])
    candidates, histories = (
        Ragged.concat(
            [Ragged(row[part.values].astype(np.int32), part.offsets) for part, row in zip(parts, rows, strict=True)]
        )
        for parts in ([log.candidates for log in logs], [log.histories for log in logs])
    )
    return ImpressionLog(
        candidates=candidates,
        labels=np.concatenate([log.labels for log in logs]),
        histories=histories,
        history_of=np.concatenate(
            [log.history_of + first for log, first in zip(logs, first_history[:-1], strict=True)]
        ).astype(np.int32),
        user_of=np.concatenate([chunk.indices.to_numpy() for chunk in users.chunks]),
        time=np.concatenate([log.time for log in logs]),
        impression_id=ids if len(np.unique(ids)) == len(ids) else np.arange(1, len(ids) + 1),
        users=users.chunk(0).dictionary,
    )
