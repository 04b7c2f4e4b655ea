"""Logs of one's own, in tables whose columns a YAML file names, as a data folder in MIND's form."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pydantic

from recommenders_miner.data.folders import WHOLE
from recommenders_miner.data.news import FILE_COLUMNS
from recommenders_miner.data.past_clicks import PAST_CLICKS
from recommenders_miner.data.tsv import OnError, find_files, require_file
from recommenders_miner.datasets.columns import LAST_SECOND, NO_TIME, Block, is_blank
from recommenders_miner.datasets.conversion import (
    Conversion,
    FirstRows,
    conversion_to,
    news_rows,
    write_clicks,
    write_shown,
)
from recommenders_miner.datasets.negatives import Negatives
from recommenders_miner.errors import DataFormatError, nearest
from recommenders_miner.storage import parse_yaml

_TRUE, _FALSE = ("1", "true", "yes", "t", "y", "1.0"), ("0", "false", "no", "f", "n", "0.0")


def convert_own_logs(
    schema: str | Path,
    out: str | Path,
    negatives: Negatives | None = None,
    on_error: OnError = "raise",
    max_history: int | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Write `out/all/`, with news.tsv and behaviors.tsv, of one's own logs.

    Where the events say what was clicked on and what was not, the rows of one impression and user become one; without a
    column of impressions, those of one user and second. Where every event is a click, a click becomes an impression
    with drawn negatives (`recommenders_miner.datasets.negatives` says which, and what follows from that), and a user's
    later clicks on the same article are left out.

    Impressions are numbered in the order of time. Their history is what the user clicked on in an earlier second, a
    click being as old as the row that says so, and an impression as its earliest row. `split_by_time` then makes train
    and dev of it. What the YAML file names of articles that news.tsv has no room for, `published` and further columns,
    stands in articles.parquet.

    Args:
        schema: the YAML file that names files and columns; see `LogSchema`.
        out: the folder to write.
        negatives: how negatives are drawn where every event is a click.
        on_error: "raise" stops at the first faulty row; "skip" leaves faulty rows out and counts them.
        max_history: clicks of a history that are kept, the newest; None keeps all.
        overwrite: whether to replace a folder `out` that holds something.

    Raises:
        DataFormatError: the YAML file or a table is missing or faulty, or its events are all clicks.
        FolderExistsError: `out` holds something.
        ValueError: `max_history` is negative.
    """
    layout = LogSchema.read(schema)
    negatives = negatives or Negatives()
    clicks_only = layout.events.clicked is None
    settings = {"converter": "own", "source": str(schema), "max_history": max_history, **PAST_CLICKS}
    settings |= {"negatives": asdict(negatives)} if clicks_only else {}
    sources, path = [Path(schema), *layout.news.file, *layout.events.file], layout.events.file[0]
    with conversion_to(out, settings, sources, on_error, overwrite) as conversion:
        news = _read_news(layout.news, conversion)
        events = _read_events(layout.events, news["news id"].combine_chunks(), conversion)
        if clicks_only:
            repeated = write_clicks(conversion, events, news, negatives, max_history, path)
            conversion.note(WHOLE, repeated_clicks_left_out=repeated)
        else:
            write_shown(conversion, events, news, max_history, path)
    return conversion


# === The YAML file ===


def _further(names: list[str]) -> list[str]:
    if taken := {"id", "published", *FILE_COLUMNS}.intersection(names):
        raise ValueError(f"{min(taken)!r} means something else in news.tsv or articles.parquet. Rename it.")
    return list(dict.fromkeys(names))


Column = Annotated[str, pydantic.Field(min_length=1)]
Columns = Annotated[
    list[Column],
    pydantic.Field(min_length=1),
    pydantic.BeforeValidator(lambda value: value if isinstance(value, list) else [value]),
]
Files = Annotated[
    Columns,
    pydantic.AfterValidator(
        lambda names, info: [file for name in names for file in find_files(info.context / name)],
    ),
]
Separator = Annotated[  # YAML takes \t for two characters unless it is quoted
    str,
    pydantic.Field(pattern=r'^[^\r\n"]$'),
    pydantic.BeforeValidator(lambda value: "\t" if value == r"\t" else value),
]


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class TimeColumn(_Section):
    """A column of times, and how they are written; see `Block.seconds`."""

    column: Column
    format: Column | None = None
    unit: Literal["s", "ms", "us", "ns"] | None = None

    @pydantic.model_validator(mode="before")
    @classmethod
    def _named_only(cls, values: Any) -> Any:
        return {"column": values} if isinstance(values, str) else values

    @pydantic.model_validator(mode="after")
    def _one_form(self) -> Self:
        if self.format is not None and self.unit is not None:
            raise ValueError("give a format or a unit, not both.")
        return self

    @property
    def remedy(self) -> str:
        """What to do about a time that cannot be read."""
        usual = "2019-11-12 14:14:46 (ISO 8601) or 11/12/2019 2:14:46 PM"
        form = f"numbers of {self.unit} since 1970" if self.unit else self.format or usual
        return f"Times are read as {form}. A format or a unit says otherwise: {{column: {self.column}, unit: ms}}."


class NewsColumns(_Section):
    """Where the articles are: their files, and the names of the columns."""

    file: Files
    separator: Separator = ","
    id: Column
    title: Column
    category: Column | None = None
    subcategory: Column | None = None
    abstract: Column | None = None
    published: TimeColumn | None = None
    columns: Annotated[Columns, pydantic.AfterValidator(_further)] = []


class EventColumns(_Section):
    """Where the events are: their files, and the names of the columns."""

    file: Files
    separator: Separator = ","
    user: Column
    time: TimeColumn
    news: Column
    clicked: Column | None = None
    impression: Column | None = None

    @pydantic.model_validator(mode="after")
    def _says_what_was_clicked(self) -> Self:
        if self.impression is not None and self.clicked is None:
            raise ValueError(
                "there is an impression, and nothing says which of its rows were clicked on. "
                "Name the column with 'clicked', or leave 'impression' out if every row is a click."
            )
        return self


class LogSchema(_Section):
    """What a YAML file says of the columns of one's own logs.

    ```yaml
    news:
      file: articles.csv            # beside the YAML file, or an absolute path; or a list, a folder or a pattern
      separator: ;                  # optional, of a CSV; a comma by default
      id: article_id
      title: headline
      category: section             # optional, as are subcategory, abstract and published
      published: {column: online_since, format: "%d.%m.%Y %H:%M"}  # when an article could first be read
      columns: [body, premium]      # optional: further ones that articles.parquet gets as they are
    events:
      file: clicks-*.csv.gz
      user: visitor
      time: {column: ts, unit: ms}  # a plain name: ISO 8601, or a column of times in a Parquet file
      news: article_id
      clicked: was_clicked          # optional: whether the row was clicked on; without it every row is a click
      impression: page_view         # optional: which rows were shown together; without it, those of user and second
    ```
    """

    news: NewsColumns
    events: EventColumns

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a YAML file.

        Raises:
            DataFormatError: the file is missing or no YAML, a key is unknown (the nearest known one is named), one that
                is needed is missing, or a value has the wrong type.
        """
        path = Path(path)
        require_file(path, "a YAML file with the sections news and events")
        try:
            return cls.model_validate(parse_yaml(path.read_text(encoding="utf-8")), context=path.parent)
        except pydantic.ValidationError as error:
            # Where a key is misspelt, that it is says more than that another is missing.
            first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
            raise DataFormatError(path, *_worded(first)) from None
        except ValueError as error:
            raise DataFormatError(path, f"is not readable as YAML: {error}") from None


def _worded(error: Mapping[str, Any]) -> tuple[str, None, str | None]:
    """Word pydantic's error: where it is and what was expected, no line, and a remedy."""
    place = [str(key) for key in error["loc"] if not isinstance(key, int)] or ["the file"]
    where, found = ": ".join(place), f"{reprlib.repr(error['input'])} ({type(error['input']).__name__})"
    if error["type"] == "value_error":
        return f"{where}: {error['ctx']['error']}", None, None
    if error["type"] == "missing":
        return f"{where}: the key is missing.", None, None
    if error["type"] == "extra_forbidden":
        sections = LogSchema, NewsColumns, EventColumns, TimeColumn
        keys = [key for section in sections for key in section.model_fields]
        return f"{where}: there is no such key.", None, f"Did you mean {nearest(reprlib.repr(place[-1]), keys)!r}?"
    return f"{where}: {error['msg']}, got {found}.", None, None


# === News ===


def _read_news(columns: NewsColumns, conversion: Conversion) -> pa.Table:
    """Return the columns of news.tsv, `published` where the files say, and the further columns."""
    news, parts = FirstRows(FILE_COLUMNS), []
    texts = [columns.title, columns.category, columns.subcategory, columns.abstract]
    wanted = [columns.id, *texts, *columns.columns, columns.published and columns.published.column]
    for block in conversion.read(columns.file, wanted, columns.separator):
        ids = block.ids(columns.id, "news id")
        rows = news_rows(ids, *(None if name is None else block.texts(name) for name in texts))
        for name in columns.columns:
            values = block.table[name]
            if pa.types.is_string(values.type):  # a CSV can write nothing else for null
                values = pc.if_else(pc.equal(values, ""), None, values)
            rows = rows.append_column(name, values)
        if columns.published is not None:
            rows = rows.add_column(len(FILE_COLUMNS), "published", _published(block, columns.published))
        picked = news.pick(
            block,
            rows,
            reason="news id repeated with another content",
            says=f"the news id {{}}, column {columns.id!r}, came before with another content.",
            remedy="Each article needs one row; --on-error skip keeps the first.",
        )
        parts.append(picked)
    if not sum(map(len, parts)):
        raise DataFormatError(columns.file[0], "there are no news.")
    try:
        return pa.concat_tables(parts, promote_options="permissive")
    except pa.ArrowException as error:
        raise DataFormatError(columns.file[-1], f"columns have other types in other files: {error}") from None


def _published(block: Block, column: TimeColumn) -> pa.Array:
    """Return when articles were published, before 1970 counting as 1970; null where nothing is said."""
    values, seconds = block.table[column.column], block.seconds(**dict(column))
    block.report(
        "bad time of publication",
        (seconds == NO_TIME) & ~is_blank(values),
        lambda row: f"column {column.column!r}: {values[row].as_py()!r} is not a time.",
        column.remedy,
    )
    return pa.array(np.maximum(seconds, 0), mask=seconds == NO_TIME)


# === Events ===


def _read_events(columns: EventColumns, news_ids: pa.StringArray, conversion: Conversion) -> pa.Table:
    """Return the sound rows of all files of events, as `conversion` describes them."""
    parts = []
    wanted = [columns.user, columns.time.column, columns.news, columns.clicked, columns.impression]
    for block in conversion.read(columns.file, wanted, columns.separator):
        news, times = block.ids(columns.news), block.table[columns.time.column]
        seconds, place = block.seconds(**dict(columns.time)), pc.index_in(news, value_set=news_ids)
        read = {"user": block.ids(columns.user, "user id").dictionary_encode(), "time": seconds, "article": place}
        block.report(
            "bad time",
            (seconds < 0) | (seconds > LAST_SECOND),
            lambda row, times=times: (
                f"column {columns.time.column!r}: {times[row].as_py()!r} is not a time from 1970 to 9999."
            ),
            columns.time.remedy,
        )
        block.report(
            "event of an article that is not among the news",
            np.asarray(place.is_null()),
            lambda row, news=news: (
                f"the article {news[row].as_py()!r}, column {columns.news!r}, is not among the news."
            ),
            "--on-error skip leaves such events out, and counts them.",
        )
        if columns.clicked is not None:
            read |= {"clicked": _flags_of(block, columns.clicked), "group": seconds}
        if columns.impression is not None:
            read["group"] = block.ids(columns.impression, "impression id").dictionary_encode()
        parts.append(pa.table(read).filter(pa.array(block.sound)))
    if not sum(map(len, parts)):
        raise DataFormatError(columns.file[0], "there are no events that could be used.")
    events = pa.concat_tables(parts).unify_dictionaries()
    if columns.clicked is not None and pc.all(events["clicked"]).as_py():
        raise DataFormatError(
            columns.file[0],
            f"every event is a click by column {columns.clicked!r}: nothing was shown and passed over.",
            remedy="Leave 'clicked' and 'impression' out of the YAML file: negatives are then drawn.",
        )
    return events


def _flags_of(block: Block, column: str) -> np.ndarray:
    """Return a column of truth values, (rows,) bool; rows that have none are bad."""
    values = block.table[column]
    # pandas makes floats of truth values where one is missing.
    texts = values.cast(pa.string()) if pa.types.is_floating(values.type) else block.texts(column)
    true, false = (np.asarray(pc.is_in(pc.utf8_lower(texts), value_set=pa.array(marks))) for marks in (_TRUE, _FALSE))
    block.report(
        "bad mark of a click",
        ~(true | false),
        lambda row: f"column {column!r}: expected 1 or 0, true or false, got {values[row].as_py()!r}.",
    )
    return true
