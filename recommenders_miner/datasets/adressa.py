"""Adressa's event log (one week, the light version) as a data folder in MIND's form.

The archive holds a file a day, `20170101` … `20170107`, with a JSON object in each line: an event of a reader on a
page. An event of an article has the article's `id`, `title`, `category1`, `publishtime` and more; one of the front page
or of a section has none of these. What was shown beside it is not known, so negatives are drawn.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from recommenders_miner.data.past_clicks import PAST_CLICKS, require_length
from recommenders_miner.data.tsv import LineFaults, OnError, require_file
from recommenders_miner.datasets.click_logs import (
    NO_NEGATIVES,
    SPLIT,
    Events,
    clicks_with_negatives,
    warn_of_little_use,
    write_log,
)
from recommenders_miner.datasets.conversion import Conversion, Interned, conversion_to
from recommenders_miner.datasets.negatives import Negatives
from recommenders_miner.datasets.news_rows import check_news_ids, check_user_ids, news_rows
from recommenders_miner.datasets.times import LAST_SECOND
from recommenders_miner.errors import DataFormatError

BATCH_LINES = 50_000
"""How many lines are read at a time. Results do not depend on it."""

_MAX_LINE_BYTES = 2**24
_FIELDS = ("userId", "time", "id", "title", "category1", "publishtime", "canonicalUrl", "url")


def convert_adressa(
    source: str | Path,
    out: str | Path,
    negatives: Negatives | None = None,
    on_error: OnError = "raise",
    progress: Callable[[float, str], None] | None = None,
    max_history: int | None = None,
) -> Conversion:
    """Writes `out/all/`, with news.tsv and behaviors.tsv, of Adressa's event log.

    A click is a user's first event with an article; it becomes an impression with drawn negatives, as
    `recommenders_miner.datasets.negatives` says. Left out, and counted, are events without an article and of articles
    that have a title in no event. Category and subcategory are the first and the last part of `category1`; the title,
    categories and time of publication of an article are those of the first event that has them.

    Args:
        source: the folder of the days, or one of their files, unpacked.
        out: the folder to write. One that holds an earlier conversion is replaced.
        negatives: how negatives are drawn.
        on_error: "raise" stops at the first faulty line; "skip" leaves faulty lines out and counts them.
        progress: is told the share of the bytes that is read, and the file.
        max_history: clicks of a history that are kept, the newest; None keeps all.

    Raises:
        DataFormatError: there is no file, a line is no JSON object, or lacks what an event of an article needs.
        RecommendersMinerError: `out` holds something else.
        ValueError: `max_history` is negative.
    """
    require_length(max_history)
    files, negatives = _find_files(Path(source)), negatives or Negatives()
    settings = {"converter": "adressa", "source": str(source), "negatives": asdict(negatives)}
    settings |= {"max_history": max_history, **PAST_CLICKS}
    with conversion_to(out, settings) as conversion:
        log = _EventLog()
        total, before = sum(path.stat().st_size for path in files), 0
        for path in files:
            if progress is not None:
                progress(before / max(total, 1), path.name)
            log.read(path, conversion, on_error)
            before += path.stat().st_size
        news, published, place_of = log.articles.table()
        events = Events.join(log.parts)
        titled = place_of[events.news] >= 0
        events = Events(events.user[titled], events.time[titled], place_of[events.news[titled]])
        if not len(events):
            raise DataFormatError(files[0], "there are no events of articles with a title.")
        clicks = events.first_clicks()
        impressions = clicks_with_negatives(clicks, published, log.users.texts, negatives)
        warn_of_little_use(files[0], impressions, NO_NEGATIVES)
        write_log(conversion, impressions, news, max_history)
        conversion.note(
            SPLIT,
            events_without_an_article_left_out=log.without_article,
            events_of_articles_without_a_title_left_out=(~titled).sum(),
            repeated_clicks_left_out=len(events) - len(clicks),
            articles_with_two_titles=log.articles.retitled,
        )
    return conversion


def _find_files(source: Path) -> list[Path]:
    """The files of the days, in the order of their names."""
    if not source.is_dir():
        require_file(source, "a folder of Adressa's files, one a day, or one of these")
        files = [source]
    else:
        files = sorted(path for path in source.rglob("*") if path.is_file() and not path.name.startswith("."))
    for path in files:
        if path.suffix in (".gz", ".tar", ".zip", ".tgz"):
            raise DataFormatError(path, "is an archive.", remedy=f"Unpack it: tar -xf {path.name}")
    if not files:
        raise DataFormatError(source, "there are no files; expected Adressa's, one a day.")
    return files


class _EventLog:
    """What the event files say, file after file.

    Attributes:
        parts: the events of articles, their news being numbers of `articles`.
        users: the users.
        articles: the articles.
        without_article: events of other pages.
    """

    def __init__(self) -> None:
        self.parts: list[Events] = []
        self.users = Interned()
        self.articles = _ArticleTable()
        self.without_article = 0

    def read(self, path: Path, conversion: Conversion, on_error: OnError) -> None:
        """Reads a file."""
        faults = LineFaults(path, on_error)
        for records, lines in _read_records(path, faults):
            of_articles = [k for k, record in enumerate(records) if record.get("id") not in (None, "")]
            self.without_article += len(records) - len(of_articles)
            self._add([records[k] for k in of_articles], lines[of_articles], faults)
            faults.raise_earliest()
        conversion.finish(faults)

    def _add(self, records: list[dict[str, Any]], lines: np.ndarray, faults: LineFaults) -> None:
        times = [record.get("time") for record in records]
        timely = np.array([_is_time(time) for time in times], bool)
        rows = np.flatnonzero(~timely)
        faults.add(
            "bad time",
            lines[rows],
            lambda k: f"the field 'time' is {times[rows[k]]!r}; expected Unix seconds.",
        )
        users, news = (
            pa.array([_id_text(record.get(key)) for record in records], pa.string()) for key in ("userId", "id")
        )
        sound = timely & check_user_ids(users, lines, "userId", faults) & check_news_ids(news, lines, "id", faults)
        kept = np.flatnonzero(sound)
        taken = pa.array(kept)
        number = self.articles.ids.numbers(news.take(taken))
        for k, article in zip(kept.tolist(), number.tolist(), strict=True):
            self.articles.describe(article, records[k])
        seconds = np.array([int(times[k]) for k in kept], np.int64)
        self.parts.append(Events(self.users.numbers(users.take(taken)), seconds, number))


@dataclass
class _Article:
    """What the events say of an article, the first of them that does."""

    title: str = ""
    category: str = ""
    url: str = ""
    published: int = -1


class _ArticleTable:
    """The articles that events name.

    Attributes:
        ids: their ids, in the order in which they first come.
        retitled: how many have another title in a later event.
    """

    def __init__(self) -> None:
        self.ids = Interned()
        self._articles: list[_Article] = []
        self._retitled: set[int] = set()

    @property
    def retitled(self) -> int:
        """How many articles have another title in a later event."""
        return len(self._retitled)

    def describe(self, number: int, record: dict[str, Any]) -> None:
        """Takes from an event what is not known yet of its article."""
        while len(self._articles) <= number:
            self._articles.append(_Article())
        article, title = self._articles[number], _text(record.get("title"))
        if article.title and title and article.title != title:
            self._retitled.add(number)
        article.title = article.title or title
        article.category = article.category or _text(record.get("category1"))
        article.url = article.url or _text(record.get("canonicalUrl")) or _text(record.get("url"))
        if article.published < 0:
            article.published = _published(record.get("publishtime"))

    def table(self) -> tuple[pa.Table, np.ndarray, np.ndarray]:
        """Returns the articles that have a title.

        Returns:
            Their rows of news.tsv; when each was published, Unix seconds, -1 where that is not known; and the place of
            every number among them, (numbers,) int32, -1 for those without a title.
        """
        titled = [number for number, article in enumerate(self._articles) if article.title]
        place_of = np.full(len(self._articles), -1, np.int32)
        place_of[titled] = np.arange(len(titled))
        kept = [self._articles[number] for number in titled]
        parts = [[part for part in article.category.split("|") if part] for article in kept]
        rows = news_rows(
            self.ids.texts.take(pa.array(titled, pa.int64())),
            [article.title for article in kept],
            category=[names[0] if names else "" for names in parts],
            subcategory=[names[-1] if names else "" for names in parts],
            url=[article.url for article in kept],
        )
        return rows, np.array([article.published for article in kept], np.int64), place_of


def _read_records(path: Path, faults: LineFaults) -> Iterator[tuple[list[dict[str, Any]], np.ndarray]]:
    """Yields the JSON objects of a file, some lines at a time, with their 1-based lines; passes over blank ones."""
    records, lines = [], []
    with open(path, "rb") as file:
        line = 0
        while text := file.readline(_MAX_LINE_BYTES):
            line += 1
            if not text.strip():
                continue
            try:
                record = json.loads(text)
            except (ValueError, RecursionError) as error:
                record = error
            if isinstance(record, dict):  # most of which, the profile, is not needed
                records.append({field: record[field] for field in _FIELDS if field in record})
                lines.append(line)
            else:
                _report_no_object(record, line, faults)
            if len(records) == BATCH_LINES:
                yield records, np.array(lines, np.int64)
                records, lines = [], []
    yield records, np.array(lines, np.int64)
    faults.raise_earliest()


def _report_no_object(record: Any, line: int, faults: LineFaults) -> None:
    problem = f"not readable as JSON ({record})" if isinstance(record, Exception) else "JSON, but no object"
    faults.add(
        "line that is no JSON object",
        np.array([line]),
        lambda _: f"the line is {problem}; expected one event in each line.",
    )
    faults.raise_earliest()


def _is_time(time: Any) -> bool:
    return isinstance(time, int | float) and not isinstance(time, bool) and 0 <= time <= LAST_SECOND


def _id_text(value: Any) -> str:
    """An id as a text; the empty one, which is a fault, where it is neither a text nor a whole number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)


def _text(value: Any) -> str:
    """A text, a question mark standing for half a surrogate pair; the empty one where it is none."""
    return value.strip().encode(errors="replace").decode() if isinstance(value, str) else ""


def _published(value: Any) -> int:
    """Unix seconds of a time like 2016-12-31T17:13:57.000Z; -1 where it is none, as for a few articles."""
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return -1
    return max(int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()), 0)
