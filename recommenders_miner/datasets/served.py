"""The log of a service, as `recommenders_miner.serving.served_log` writes it, as a data folder in MIND's form."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from sys import intern
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pydantic

from recommenders_miner.data.folders import BEHAVIORS_FILE, WHOLE
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import FILE_COLUMNS, NewsTable
from recommenders_miner.data.past_clicks import PAST_CLICKS, Histories
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.data.tsv import LineErrors, OnError, open_data
from recommenders_miner.data.write import write_behaviors
from recommenders_miner.datasets.columns import LAST_SECOND
from recommenders_miner.datasets.conversion import Conversion, conversion_to, news_rows, write_news
from recommenders_miner.errors import DataFormatError

CLICK_SECONDS = 24 * 3600
"""For how long after an answer a click that names none can be on one of its articles."""


def convert_served(
    logs: str | Path,
    out: str | Path,
    news: str | Path,
    on_error: OnError = "raise",
    max_history: int | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Write `out/all/`, with news.tsv, behaviors.tsv and perhaps articles.parquet, of the log of a service.

    An answer becomes an impression, with the history that it was computed from. Clicked on are those of its articles
    that a click names with it, or that its user clicked on within a day, unless a later answer had the article, too.
    If showings name an answer, only what was shown or clicked on is a candidate. An answer for nobody in particular
    gets a user of its own, unless an event says whose it is. Impressions are numbered in the order of time, and
    `split_by_time` makes train and dev of them.

    A line whose answer or event came before, under its id, says nothing new. Passed over, and counted, are lines that
    were cut short when a process was killed, clicks that belong to no answer, answers without candidates, and articles
    of histories that nothing describes.

    Args:
        logs: a file of the log, or the folder with all.
        out: the folder to write.
        news: the news.tsv that was served, and an articles.parquet beside it; what the log says of articles is newer.
        on_error: "raise" stops at the first faulty line, or answer with an article that nothing describes; "skip"
            leaves such lines and articles out and counts them.
        max_history: clicks of a history that are kept, the newest; None keeps all.
        overwrite: whether to replace a folder `out` that holds something.

    Raises:
        DataFormatError: a file is missing or faulty, or there are no answers.
        FolderExistsError: `out` holds something.
        ValueError: `max_history` is negative.
    """
    logs, news = Path(logs), Path(news)
    files = [logs]
    if logs.is_dir():  # a process may be killed, or find the disk full, before it writes the first line of a file
        files = [path for path in sorted(logs.rglob("served-*.jsonl*")) if path.stat().st_size]
    settings = {"converter": "served", "source": str(logs), "news": str(news), "max_history": max_history}
    with (
        conversion_to(out, settings | PAST_CLICKS, [logs, news], on_error, overwrite) as conversion,
        ExitStack() as reports,
    ):
        errors = {path: reports.enter_context(conversion.errors_of(path)) for path in files}
        lines = _Lines()
        for path in files:
            lines.read(path, errors[path])
        table = NewsTable.read(news, on_error)
        if table.skipped:
            conversion.left_out[str(news)] = table.skipped.counts
        if lines.articles:
            table = _described(lines.articles, logs).joined(table)
        conversion.note(WHOLE, lines_cut_short=lines.cut_short)
        answers, candidates = _match(conversion, lines, table, errors)
        if candidates.empty:
            raise DataFormatError(logs, "there are no answers with articles; expected files served-….jsonl.")
        _write(conversion, answers, candidates, table, max_history)
    return conversion


# === Lines ===

_NewsId = Annotated[str, pydantic.Field(pattern="^[^\\x00-\\x20\\x7f\x85\u2028\u2029\ufeff]+$")]
_Published = Annotated[float, pydantic.Field(ge=-LAST_SECOND, le=LAST_SECOND, allow_inf_nan=False)]
_UserId = Annotated[str, pydantic.Field(pattern="^[^\\x00-\\x1f\\x7f\x85\u2028\u2029\ufeff]+$")]


class _Line(pydantic.BaseModel):
    id: str
    time: Annotated[float, pydantic.Field(ge=0, le=LAST_SECOND)]


class _Answer(_Line):
    kind: Literal["answer"]
    user: _UserId | None = None
    history: list[str] = []
    articles: list[str]


class _Event(_Line):
    kind: Literal["event"]
    user: _UserId
    article: str
    type: Literal["click", "shown"]
    answer: str | None = None


class _Article(_Line):
    model_config = pydantic.ConfigDict(extra="allow")

    kind: Literal["article"]
    id: _NewsId
    title: str
    category: str | None = None
    subcategory: str | None = None
    abstract: str | None = None
    published: _Published | None = None


_LINE = pydantic.TypeAdapter(Annotated[_Answer | _Event | _Article, pydantic.Field(discriminator="kind")])


class _Lines:
    """What the lines of files say.

    Attributes:
        answers: id, user or None, time, history, articles, file and line of each answer.
        events: id, answer or None, user, time, article, and whether it is a click.
        articles: the newest description of each article that is described.
        cut_short: how many last lines are.
    """

    def __init__(self) -> None:
        self.answers: list[tuple] = []
        self.events: list[tuple] = []
        self.articles: dict[str, _Article] = {}
        self.cut_short = 0

    def read(self, path: Path, errors: LineErrors) -> None:
        """Add the lines of a file."""
        with open_data(path, "the log of a service, a JSON object in each line") as file:
            for number, text in enumerate(file, start=1):
                if not text.endswith(b"\n"):
                    self.cut_short += 1
                    break
                try:
                    self._add(_LINE.validate_json(text), path, number)
                except pydantic.ValidationError as error:
                    first = error.errors()[0]
                    problem = f"{'.'.join(map(str, first['loc'])) or 'the line'}: {first['msg']}."
                    errors.add("faulty line", np.array([number]), lambda _, problem=problem: problem)
                    errors.raise_earliest()

    def _add(self, line: _Answer | _Event | _Article, path: Path, number: int) -> None:
        if line.kind == "answer":
            ids = ([intern(id) for id in ids] for ids in (line.history, line.articles))
            self.answers.append((line.id, line.user, int(line.time), *ids, path, number))
        elif line.kind == "event":
            what = int(line.time), intern(line.article), line.type == "click"
            self.events.append((line.id, line.answer, line.user, *what))
        elif line.id not in self.articles or line.time >= self.articles[line.id].time:
            self.articles[line.id] = line


def _described(articles: Mapping[str, _Article], logs: Path) -> NewsTable:
    """Make a table of the articles that the log describes."""
    rows = list(articles.values())
    names = dict.fromkeys(name for row in rows for name in row.model_extra if name not in FILE_COLUMNS)
    extra = {name: [row.model_extra.get(name) for row in rows] for name in names}
    if any(row.published is not None for row in rows):
        extra["published"] = [None if row.published is None else int(row.published) for row in rows]
    columns = ([getattr(row, name) for row in rows] for name in ("title", "category", "subcategory", "abstract"))
    try:
        return NewsTable.from_columns(list(articles), *columns, extra=extra)
    except (pa.ArrowException, OverflowError) as error:
        problem = f"a column of articles holds values of several types, or too large ones: {error}"
        raise DataFormatError(logs, problem) from None


# === Impressions ===


def _match(
    conversion: Conversion, lines: _Lines, news: NewsTable, errors: Mapping[Path, LineErrors]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the answers by time, and their candidates, a row each: answer, its place; row, of news; and clicked."""
    names = ["id", "user", "time", "history", "article", "path", "line"]
    # Texts are objects throughout: pandas' own types depend on its version, and on whether there is a text.
    answers = pd.DataFrame(lines.answers, columns=names, dtype=object).astype({"time": "int64"})
    answers = answers.drop_duplicates("id").sort_values("time", kind="stable", ignore_index=True)
    events = pd.DataFrame(lines.events, columns=["id", "answer", "user", "time", "article", "clicked"], dtype=object)
    events = events.drop_duplicates("id").astype({"time": "int64", "clicked": bool})
    events["answer"] = pd.Index(answers["id"]).get_indexer(events["answer"])  # -1 for one that is not there
    owners = events.groupby("answer")["user"].first().to_dict()
    answers["user"] = [user or owners.get(k) or f"nobody-{k + 1}" for k, user in enumerate(answers["user"])]

    candidates = answers[["user", "time", "article"]].explode("article").rename_axis("answer").reset_index()
    candidates = candidates.dropna(subset="article").drop_duplicates(["answer", "article"])
    candidates = candidates.astype({"user": object, "article": object})
    candidates["row"] = candidates["article"].map(news.row_of)
    unknowns = candidates[candidates["row"].isna()].drop_duplicates("article")
    for unknown in unknowns.join(answers[["path", "line"]], on="answer").itertuples():
        problem = f"the answer has the article {unknown.article!r}, which neither news.tsv nor the log describes."
        remedy = "Give the news.tsv that was served; --on-error skip leaves such articles out."
        reason, of_file = "article of answers that nothing describes", errors[unknown.path]
        of_file.add(reason, np.array([unknown.line]), lambda _, problem=problem: problem, remedy)
        of_file.raise_earliest()
    candidates = candidates.dropna(subset="row")

    pairs, named = (pd.MultiIndex.from_frame(table[["answer", "article"]]) for table in (candidates, events))
    others = events[events["clicked"] & ~named.isin(pairs)].drop(columns=["id", "answer", "clicked"])
    by_user = candidates[["answer", "article", "user", "time"]]
    latest = pd.merge_asof(
        others.sort_values("time"), by_user, on="time", by=["user", "article"], tolerance=CLICK_SECONDS
    ).dropna(subset="answer")
    conversion.note(WHOLE, clicks_that_belong_to_no_answer=len(others) - len(latest))
    by_user = pd.MultiIndex.from_frame(latest[["answer", "article"]].astype({"answer": "int64"}))
    candidates["clicked"] = pairs.isin(named[events["clicked"]]) | pairs.isin(by_user)
    shown = pairs.isin(named[~events["clicked"]])
    says_shown = candidates["answer"].isin(candidates["answer"][shown])
    return answers, candidates[candidates["clicked"] | shown | ~says_shown]


def _write(
    conversion: Conversion, answers: pd.DataFrame, candidates: pd.DataFrame, news: NewsTable, max_history: int | None
) -> None:
    """Write the split `all`."""
    lengths = np.bincount(candidates["answer"], minlength=len(answers))
    answers, lengths, without = answers[lengths > 0], lengths[lengths > 0], int((lengths == 0).sum())
    clicked = np.fromiter((news.row_of.get(id, 0) - 1 for ids in answers["history"] for id in ids), np.int32)
    histories = Ragged.of_lengths(clicked, [*map(len, answers["history"])]).keep(clicked >= 0)
    user_of, users = pd.factorize(answers["user"])
    log = ImpressionLog(
        candidates=Ragged.of_lengths(candidates["row"].to_numpy(np.int32) - 1, lengths),
        labels=candidates["clicked"].to_numpy(np.int8),
        histories=histories,
        history_of=np.arange(len(answers)),
        user_of=user_of,
        time=answers["time"].to_numpy(),
        impression_id=np.arange(1, len(answers) + 1),
        users=pa.array(users, pa.string()),
    )
    texts = (news.ids, news.title, news.category, news.subcategory, news.abstract)
    rows = news_rows(*(column.slice(1) for column in texts))
    for name, column in (("title entities", news.title_entities), ("abstract entities", news.abstract_entities)):
        rows = rows.set_column(FILE_COLUMNS.index(name), name, column.slice(1))
    for name in news.extra.column_names if news.extra else ():
        rows = rows.append_column(name, news.extra[name].slice(1))
    folder = conversion.folder / WHOLE
    folder.mkdir()
    logs = [(log, Histories.of_log(log).newest(max_history), np.arange(len(log)))]
    write_behaviors(folder / BEHAVIORS_FILE, rows["news id"].combine_chunks(), logs)
    write_news(folder, rows)
    clicks = Ragged(log.labels, log.candidates.offsets).sums()
    conversion.note(
        WHOLE,
        news=len(rows),
        users=len(users),
        impressions=len(log),
        candidates=len(candidates),
        clicks=clicks.sum(),
        impressions_without_a_click=(clicks == 0).sum(),
        impressions_without_a_negative=(clicks == lengths).sum(),
        answers_without_candidates=without,
        clicks_of_histories_that_nothing_describes=(clicked < 0).sum(),
    )
