"""MIND's `news.tsv` as columns in memory, and what else is known of the articles."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recommenders_miner.data.cache import pack_strings
from recommenders_miner.data.folders import ARTICLES_FILE
from recommenders_miner.data.tsv import LineErrors, OnError, SkipReport, describe_columns, read_tsv
from recommenders_miner.errors import DataFormatError, RecommendersMinerError, UnknownNewsError

if TYPE_CHECKING:
    import pandas as pd

_KEPT_COLUMNS = ("news id", "category", "subcategory", "title", "abstract", "title entities", "abstract entities")
FILE_COLUMNS = (*_KEPT_COLUMNS[:5], "url", *_KEPT_COLUMNS[5:])
_COLUMNS = ("ids", "category", "subcategory", "title", "abstract", "title_entities", "abstract_entities")
_IN_MEMORY = Path("<columns>")
_SHOWN_IDS = 5


@dataclass(frozen=True, eq=False, repr=False)
class NewsTable:
    """The news that a click log refers to, as columns of N + 1 strings.

    Row 0 is padding, whose every column is empty; rows 1 … N are the articles in file order. The other
    parts of the package name an article by its row.

    Attributes:
        ids: news ids, as in `N55528`.
        category: category names, as in `sports`.
        subcategory: subcategory names, as in `football_nfl`.
        title: titles.
        abstract: abstracts; may be empty.
        title_entities: the Wikidata entities of each title, as JSON; `[]` or empty where there are none.
        abstract_entities: the same for the abstract.
        path: the file that was read; `<columns>` for a table of columns in memory.
        lines: (N + 1,) int64, the 1-based line of each article in it, or its place among the columns; 0 for padding.
        extra: further columns of N + 1 values, such as `published` (int64 Unix seconds) or `body`, null in row 0 and
            where nothing is known of an article; None where there are none.
        skipped: what `read(…, on_error="skip")` left out; None where nothing may be left out.
    """

    ids: pa.StringArray
    category: pa.StringArray
    subcategory: pa.StringArray
    title: pa.StringArray
    abstract: pa.StringArray
    title_entities: pa.StringArray
    abstract_entities: pa.StringArray
    path: Path
    lines: np.ndarray
    extra: pa.Table | None = None
    skipped: SkipReport | None = None

    @classmethod
    def read(cls, path: str | Path, on_error: OnError = "raise", separator: str = "\t") -> NewsTable:
        r"""Read a file in the format of MIND's `news.tsv`, and the `articles.parquet` beside it if there is one.

        The file has eight columns and no header: news id, category, subcategory, title, abstract, url, title
        entities, abstract entities. The url is not kept. An article that is there twice with the same content
        (the url apart) counts once, so that the news files of two splits can be joined by `cat`. Of a file that was
        saved as CSV, as pandas does, the quotes around texts are taken off.

        Args:
            path: the file.
            on_error: "raise" stops at the first line with an error; "skip" leaves such lines out, counts them in
                `skipped` and logs a warning.
            separator: what stands between columns.

        Raises:
            DataFormatError: the file is missing, a folder, empty or no text; or a line is a header, has not eight
                columns, is not UTF-8, has no news id, or repeats a news id with another content; or articles.parquet
                is damaged, or its column `published` holds no times.
        """
        path = Path(path)
        errors = LineErrors(path, on_error)
        rows = read_news_lines(path, errors, separator)
        rows = rows if rows is None else _first_of_each(rows.drop_columns("url"), errors)
        skipped = errors.log_summary()
        if rows is None or len(rows) == 0:
            raise DataFormatError(path, f"no line could be used; expected {describe_columns(FILE_COLUMNS, separator)}.")
        return cls._of_rows(rows, _read_articles(path.with_name(ARTICLES_FILE)), skipped, path)

    @classmethod
    def from_columns(
        cls,
        ids: Sequence[str],
        titles: Sequence[str],
        category: Sequence[str] | None = None,
        subcategory: Sequence[str] | None = None,
        abstract: Sequence[str] | None = None,
        title_entities: Sequence[str] | None = None,
        abstract_entities: Sequence[str] | None = None,
        extra: Mapping[str, Sequence[Any]] | None = None,
    ) -> NewsTable:
        """Make a table from columns in memory, one entry per article, the padding not among them.

        Args:
            ids: news ids.
            titles: titles.
            category: category names. This and the other optional columns are empty where left out; so is an
                entry that is None.
            subcategory: subcategory names.
            abstract: abstracts.
            title_entities: JSON lists of entities, in MIND's form.
            abstract_entities: the same for the abstracts.
            extra: further columns by name, of anything that Arrow can hold; None for what is not known.

        Raises:
            DataFormatError: the columns differ in length, an id is empty, or an id is repeated with another
                content. The error's `line` counts entries from 1.
        """
        columns = (ids, category, subcategory, titles, abstract, title_entities, abstract_entities)
        columns, extra = dict(zip(_KEPT_COLUMNS, columns, strict=True)), dict(extra or {})
        for name, values in (columns | extra).items():
            if values is not None and len(values) != len(ids):
                raise DataFormatError(_IN_MEMORY, f"{len(ids)} news ids, but {len(values)} entries of {name}.")
        rows = {
            name: pa.array([None] * len(ids) if values is None else values, pa.string(), from_pandas=True).fill_null("")
            for name, values in columns.items()
        }
        articles = pa.table({**extra, "id": rows["news id"]}) if extra else None
        rows = pa.table({**rows, "line": np.arange(1, len(ids) + 1)})
        return cls._of_rows(_first_of_each(rows, LineErrors(_IN_MEMORY, "raise")), articles)

    @classmethod
    def _of_rows(
        cls, rows: pa.Table, articles: pa.Table | None, skipped: SkipReport | None = None, path: Path = _IN_MEMORY
    ) -> NewsTable:
        """Put the padding before rows, and columns of other articles, under their `id`, beside them."""
        ids, *columns = (pa.concat_arrays([pa.array([""]), *rows[name].chunks]) for name in _KEPT_COLUMNS)
        if articles is not None:
            place = pc.index_in(ids, value_set=articles["id"].combine_chunks())
            place = pc.if_else(pc.equal(ids, ""), None, place)
            articles = articles.drop_columns("id").take(place).combine_chunks()
        lines = np.concatenate([[0], rows["line"].to_numpy()])
        return cls(ids, *columns, path, lines, articles, skipped)

    def __len__(self) -> int:
        """The number of rows, N + 1: the articles and the padding."""
        return len(self.ids)

    def __repr__(self) -> str:
        return f"NewsTable({len(self) - 1:,} news)"

    @cached_property
    def row_of(self) -> Mapping[str, int]:
        """The row of each news id; the padding is not among them."""
        return {news_id: row for row, news_id in enumerate(self.ids.to_pylist()) if row > 0}

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """Return the rows of some news ids, (len(ids),) int32.

        Raises:
            UnknownNewsError: some ids are not in the table; the message names them.
        """
        rows = [self.row_of.get(news_id, 0) for news_id in ids]
        if 0 in rows:
            unknown = [news_id for news_id, row in zip(ids, rows, strict=True) if row == 0]
            shown = ", ".join(map(repr, unknown[:_SHOWN_IDS])) + (", …" if len(unknown) > _SHOWN_IDS else "")
            raise UnknownNewsError(f"{len(unknown)} news ids are not among the table's {len(self) - 1:,}: {shown}")
        return np.array(rows, np.int32)

    @cached_property
    def published(self) -> np.ndarray:
        """When each article was published, (N + 1,) int64 Unix seconds; 0 where that is not known."""
        if self.extra is None or "published" not in self.extra.column_names:
            return np.zeros(len(self), np.int64)
        return pc.fill_null(self.extra["published"].combine_chunks().cast(pa.int64()), 0).to_numpy()

    @cached_property
    def labels(self) -> dict[str, tuple[list[str], np.ndarray]]:
        """By `category` and `subcategory`: the distinct names, "" first, and the place of each article's, (N + 1,)."""
        encoded = {name: getattr(self, name).dictionary_encode() for name in ("category", "subcategory")}
        return {
            name: (column.dictionary.to_pylist(), column.indices.to_numpy().astype(np.int64))
            for name, column in encoded.items()
        }

    def texts(self, column: str) -> list[str]:
        """Return a column without the padding, N texts; of a further column, "" where it says nothing.

        Lists of texts, as of paragraphs, are joined by spaces.

        Raises:
            DataFormatError: the column holds no texts.
            RecommendersMinerError: there is no such column.
        """
        if column in _COLUMNS:
            return getattr(self, column).to_pylist()[1:]
        if self.extra is None or column not in self.extra.column_names:
            raise RecommendersMinerError(f"There is no column {column!r} in {ARTICLES_FILE} beside news.tsv.")
        values = self.extra[column]
        try:
            if not pa.types.is_nested(values.type):
                return values.cast(pa.string()).fill_null("").to_pylist()[1:]
            lists = values.cast(pa.list_(pa.string())).to_pylist()[1:]
        except pa.ArrowException:
            path = self.path.with_name(ARTICLES_FILE)
            raise DataFormatError(path, f"column {column!r} holds {values.type}; expected texts.") from None
        return [" ".join(filter(None, texts or ())) for texts in lists]

    def align(self, ids: pa.StringArray, values: np.ndarray, missing: float) -> np.ndarray:
        """Carry figures of another table's articles, `values` of `ids`, over to the rows of this one, (N + 1,)."""
        row = pc.index_in(self.ids, value_set=ids).fill_null(-1).to_numpy()
        return np.where(row >= 0, values[row], missing)

    def select(self, ids: Sequence[str]) -> NewsTable:
        """Return a table of some of the articles, each once, in the order of their first mention.

        Raises:
            UnknownNewsError: some ids are not in the table.
        """
        rows = np.concatenate([[0], self.rows(list(dict.fromkeys(ids)))])
        extra = None if self.extra is None else self.extra.take(rows)
        columns = (getattr(self, name).take(rows) for name in _COLUMNS)
        return NewsTable(*columns, self.path, self.lines[rows], extra, self.skipped)

    def joined(self, other: NewsTable) -> NewsTable:
        """Return a table of these articles and, behind them, those of another one that are not among them.

        Raises:
            RecommendersMinerError: a further column has another type there.
        """
        new = pc.invert(pc.is_in(other.ids, value_set=self.ids))
        columns = (pa.concat_arrays([getattr(self, name), getattr(other, name).filter(new)]) for name in _COLUMNS)
        extras = [
            pa.table({"id": table.ids}) if table.extra is None else table.extra.append_column("id", table.ids)
            for table in (self, other)
        ]
        try:
            extra = pa.concat_tables([extras[0], extras[1].filter(new)], promote_options="permissive")
        except pa.ArrowException as error:
            raise RecommendersMinerError(f"Two files {ARTICLES_FILE} do not go together: {error}") from None
        extra = extra.drop_columns("id").combine_chunks()
        lines = np.arange(len(self) + pc.sum(new).as_py())
        return NewsTable(*columns, _IN_MEMORY, lines, extra if extra.num_columns else None)

    def frame(self, ids: Sequence[str]) -> pd.DataFrame:
        """Show some articles as a pandas table: `category`, `subcategory` and `title`, under their ids as given.

        Raises:
            UnknownNewsError: some ids are not in the table.
        """
        import pandas as pd  # takes half a second, and nothing else needs it

        rows, names = self.rows(ids), ("category", "subcategory", "title")
        columns = {name: getattr(self, name).take(rows).to_pylist() for name in names}
        return pd.DataFrame(columns, index=pd.Index(ids, name="news"))

    @cached_property
    def digest(self) -> str:
        """A hex BLAKE2b digest of the columns, rather than of the file, which names their content in cache keys."""
        digest = hashlib.blake2b(digest_size=16)
        for name in _COLUMNS:
            for part in pack_strings(getattr(self, name)):
                digest.update(part.size.to_bytes(8, "little"))
                digest.update(part)
        if self.extra is not None:
            content = pa.BufferOutputStream()
            with pa.ipc.new_stream(content, self.extra.schema) as stream:
                stream.write_table(self.extra.combine_chunks())
            digest.update(content.getvalue())
        return digest.hexdigest()

    @cached_property
    def ids_digest(self) -> str:
        """A hex BLAKE2b digest that names which article each row is: what the rows of a log mean."""
        digest = hashlib.blake2b(digest_size=16)
        for part in pack_strings(self.ids):
            digest.update(np.ascontiguousarray(part))
        return digest.hexdigest()


def distinct_rows(num_news: int, *rows: np.ndarray) -> np.ndarray:
    """Return the distinct ones among arrays of rows of a table with `num_news`, ascending, and the padding."""
    needed = np.zeros(num_news, bool)
    needed[0] = True
    for array in rows:
        needed[array] = True
    return np.flatnonzero(needed)


def read_news_lines(path: Path, errors: LineErrors, separator: str = "\t") -> pa.Table | None:
    """Return the lines of a news.tsv that have the right form, `FILE_COLUMNS` and `line`, 1-based; None if none has.

    Where errors are raised, it is left to the caller's `raise_earliest` to do so if a line before the error was read.
    """
    blocks = []
    try:
        for block, lines in read_tsv(path, FILE_COLUMNS, errors, separator):
            blocks.append(block.append_column("line", pa.array(lines)))
    except DataFormatError as error:
        if error.line is None or not blocks:
            raise  # else an earlier line may repeat an id
    return _unquoted(pa.concat_tables(blocks)) if blocks else None


def seconds_of_times(values: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return Arrow's times or dates as int64 Unix seconds, fractions dropped; None for values that are neither."""
    kind = values.type
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return None
    return values.cast(pa.timestamp("s", getattr(kind, "tz", None)), safe=False).cast(pa.int64())


def _unquoted(rows: pa.Table) -> pa.Table:
    """Take off the quotes of lines that were saved as CSV: each text with a quote is quoted, and its quotes doubled.

    MIND's own quotes are characters like any other, and its entities, which have some, are not quoted.
    """
    quoted, is_csv = {}, False
    for name in reversed(FILE_COLUMNS):  # entities tell soonest
        quoted[name] = pc.match_substring_regex(rows[name], '^"([^"]|"")*"$')
        if not pc.all(pc.or_(quoted[name], pc.invert(pc.match_substring(rows[name], '"')))).as_py():
            return rows
        is_csv |= pc.any(pc.match_substring_regex(rows[name], '^"([^"]|"")*""([^"]|"")*"$')).as_py()
    if is_csv or pc.all(quoted["news id"]).as_py():
        for place, name in enumerate(FILE_COLUMNS):
            bare = pc.replace_substring(pc.utf8_slice_codeunits(rows[name], 1, -1), '""', '"')
            rows = rows.set_column(place, name, pc.if_else(quoted[name], bare, rows[name]))
    return rows


def _first_of_each(rows: pa.Table, errors: LineErrors) -> pa.Table:
    """Return the rows that hold an article for the first time, in order; a column `line` has their 1-based lines."""
    lines, contents = rows["line"].to_numpy(), rows.drop_columns("line")
    index = rows["news id"].combine_chunks().dictionary_encode().indices.to_numpy()
    first_row = np.unique(index, return_index=True)[1][index]
    named = pc.not_equal(rows["news id"], "").to_numpy()
    again = np.flatnonzero(named & (first_row < np.arange(len(rows))))
    pairs = zip(contents.take(again).columns, contents.take(first_row[again]).columns, strict=True)
    clashing = again[~np.all([pc.equal(one, other).to_numpy() for one, other in pairs], axis=0)]
    errors.add("empty news id", lines[~named], lambda _: "the news id, column 1, is empty.")
    errors.add(
        "news id repeated with another content",
        lines[clashing],
        lambda k: (
            f"the news id {rows['news id'][clashing[k]].as_py()!r} stands in line {lines[first_row[clashing[k]]]} "
            "with another content."
        ),
    )
    errors.raise_earliest()
    return rows.filter(named & (first_row == np.arange(len(rows))))


def _read_articles(path: Path) -> pa.Table | None:
    """Read an articles.parquet, if there is one and it has columns beside `id`; `published` becomes int64 seconds."""
    if not path.exists():
        return None
    try:
        articles = pq.read_table(path)
        articles.validate(full=True)
        articles = articles.set_column(articles.schema.names.index("id"), "id", articles["id"].cast(pa.string()))
    except (OSError, ValueError, LookupError, pa.ArrowException) as error:
        raise DataFormatError(
            path, f"is not readable ({error}); expected Parquet with a column id, the news ids."
        ) from None
    for place, name in enumerate(articles.column_names):
        values = articles.column(place)
        if name == "published":
            articles = articles.set_column(place, name, _seconds(path, values))
        elif pa.types.is_string_view(values.type):  # Arrow cannot take rows of it
            articles = articles.set_column(place, name, values.cast(pa.string()))
    return articles if articles.num_columns > 1 else None


def _seconds(path: Path, times: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the column `published` as int64 Unix seconds: of times of any unit, or of seconds, fractions dropped."""
    kind = times.type
    try:
        if (seconds := seconds_of_times(times)) is not None:
            return seconds
        if pa.types.is_floating(kind):  # as pandas makes of integers where one is missing, by NaN
            times = pc.floor(times.cast(pa.float64()))
            times = pc.if_else(pc.is_nan(times), None, times)
        return times.cast(pa.int64())
    except pa.ArrowException as error:
        problem = f"column 'published' holds {kind}; expected Unix seconds ({error})."
        raise DataFormatError(path, problem, remedy="Write numbers, or times of Parquet.") from None
