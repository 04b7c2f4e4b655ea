"""Reading MIND's `behaviors.tsv` into the arrays of an `ImpressionLog`, and the clock of such files.

Blocks of lines are taken apart on all cores, as far as a block can be by itself (`_Block`); what depends on the lines
before, the indices of users and histories and whether the log is labelled, follows in file order (`LogReader`). Python
sees only distinct users, histories and tokens with an error; all else is done on whole columns.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.backend import keep_freed_memory
from recommenders_miner.data.cache import pack_strings
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.data.tsv import LineErrors, OnError, SkipReport, describe_columns, read_tsv, require_file
from recommenders_miner.errors import DataFormatError

FILE_COLUMNS = ("impression id", "user id", "time", "history", "impressions")
READER_VERSION = 2
"""Raise it whenever the same file is to be read into other arrays."""

UNLABELLED = -1
UNKNOWN_CANDIDATE, UNKNOWN_IN_HISTORY = "unknown news id among the candidates", "unknown news id in the history"
_OTHER_KIND = "labels where the log has none, or none where it has them"
_PROBLEMS = {  # by reason, as the skip report names it
    "bad impression id": "impression id '{}' is not a non-negative integer.",
    "empty user id": "the user id is empty.",
    "bad time": "expected a time like 11/12/2019 2:14:46 PM or 2019-11-12 14:14:46, got {!r}.",
    "no candidates": "the impression has no candidates.",
    "bad label": "the label after the last hyphen must be 0 or 1, got {!r}.",
    UNKNOWN_CANDIDATE: "the candidate {!r} is not in the news table.",
    "some candidates labelled and some not": "some candidates of the impression have a label and some have none.",
    "no known candidates": "none of the candidates is known.",
    _OTHER_KIND: "the impression has {}.",
    UNKNOWN_IN_HISTORY: "the news {!r} in the history is not in the news table.",
}

_OF_A_USER = (
    "a user id, a tab, and the ids of clicked news, separated by spaces; or a line of a behaviors.tsv; or JSON, "
    '{"user": …, "history": […]}'
)
_UNKNOWN, _NO_TOKEN, _BAD_LABEL = -1, 0, -2  # what a token stands for, beside a row of the table
_UNKNOWN_REMEDY = (
    'Is the news table that of the same split? --on-error skip, in Python on_error="skip", leaves unknown news out.'
)


def read_behaviors(
    path: Path, news: NewsTable, on_error: OnError, separator: str, append: Callable[..., None]
) -> SkipReport | None:
    """Read a log, appending block by block to the arrays that are cached; return what was skipped.

    See `ImpressionLog.read` for the arguments, and for the exceptions.
    """
    keep_freed_memory()  # each block would else ask the kernel for the pages that the last one gave back
    errors = LineErrors(path, on_error)
    reader = LogReader(news, errors, append)
    for block, lines in read_blocks(path, news, errors, separator):
        reader.add(block, lines)
    skipped = errors.log_summary()
    if reader.labelled is None:
        raise no_usable_line(path, separator)
    reader.append_users()
    return skipped


def read_blocks(
    path: str | Path, news: NewsTable, errors: LineErrors, separator: str, **options: Any
) -> Iterator[tuple[_Block, np.ndarray]]:
    """Yield blocks of lines, taken apart, with the lines' numbers, as a `LogReader` adds them; as `read_tsv`."""
    parse = functools.partial(_Block.parse, news)
    return read_tsv(path, FILE_COLUMNS, errors, separator, parse, **options)


def no_usable_line(path: str | Path, separator: str) -> DataFormatError:
    """Say that a log has not one impression."""
    return DataFormatError(path, f"no line could be used; expected {describe_columns(FILE_COLUMNS, separator)}.")


def read_users(path: str | Path) -> list[tuple[str | None, list[str]]]:
    """Read users and the ids of the news that each clicked, newest last, a line each: what is asked of a model.

    A line is a user id, a tab, and ids separated by spaces or commas, perhaps none; or one of a `behaviors.tsv`, of
    which only user and history are read; or a JSON object with `history`, a list of ids, and perhaps `user`.

    Raises:
        DataFormatError: the file is missing, a folder or empty, or a line is none of these.
    """
    path, found = Path(path), []
    require_file(path, f"lines of {_OF_A_USER}")
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                found.append(_user_of_json(text) if text.startswith("{") else _user_of_columns(text.split("\t")))
            except (ValueError, RecursionError) as error:  # of the text, or of JSON nested a thousand times
                problem = "the line is not valid UTF-8." if isinstance(error, UnicodeDecodeError) else f"{error}."
                raise DataFormatError(path, problem, line=number, remedy=f"Expected is {_OF_A_USER}.") from None
    return found


def _user_of_columns(columns: list[str]) -> tuple[str, list[str]]:
    match columns:
        case [user, history]:
            return user, history.replace(",", " ").split()
        case [_, user, _, history, _]:
            return user, history.split()
    raise ValueError(f"there are {len(columns)} columns, separated by tabs")


def _user_of_json(text: str) -> tuple[str | None, list[str]]:
    described = json.loads(text)
    user, history = described.get("user"), described.get("history")
    named = [] if user is None else [user]
    if not isinstance(history, list) or not all(type(of_one) in (str, int) for of_one in [*named, *history]):
        raise ValueError("the object has no list of ids as 'history', or something else than an id as 'user'")
    return None if user is None else str(user), [str(news_id) for news_id in history]


class _Block(NamedTuple):
    """Some lines of the file, with what can be known of them without the lines before."""

    table: pa.Table  # their columns, as written
    impression_id: np.ndarray  # (rows,) int64, -1 where the text is no number
    time: np.ndarray  # (rows,) int64, Unix seconds, -1 where the text is no time
    users: pa.DictionaryArray
    histories: pa.DictionaryArray  # as written
    tokens: pa.StringArray  # the distinct tokens of the impressions
    shown: Ragged  # which of them each impression shows
    news: np.ndarray  # what each distinct token stands for, (distinct,) int32: a row of the table, or why there is none
    label: np.ndarray  # of each distinct token, (distinct,) int8
    bad: np.ndarray  # how many tokens of each impression have a bad label, (rows,) int64; the rest likewise
    unknown: np.ndarray
    labelled: np.ndarray
    unlabelled: np.ndarray

    @classmethod
    def parse(cls, news: NewsTable, table: pa.Table) -> Self:
        """Take lines apart; never raises for what stands in them."""
        tokens, shown = _split(table["impressions"].combine_chunks())
        rows, label = _find_candidates(tokens, news)
        kinds = rows == _BAD_LABEL, rows == _UNKNOWN, (rows > 0) & (label >= 0), (rows > 0) & (label < 0)
        is_number = pc.match_substring_regex(table["impression id"], "^[0-9]{1,18}$")
        return cls(
            table,
            pc.if_else(is_number, table["impression id"], "-1").cast(pa.int64()).to_numpy(),
            parse_times(table["time"]),
            *(table[name].combine_chunks().dictionary_encode() for name in ("user id", "history")),
            tokens,
            shown,
            rows,
            label,
            *(_count(shown, kind) for kind in kinds),
        )

    def first(self, kind: int, row: int) -> str:
        """Return the first token of an impression that stands for `kind`."""
        shown = self.shown[row]
        return self.tokens[int(shown[np.argmax(self.news[shown] == kind)])].as_py()


def _split(texts: pa.StringArray) -> tuple[pa.StringArray, Ragged]:
    """Split texts at spaces; return the distinct tokens, and which of them each text has."""
    words = pc.split_pattern(texts, " ")
    encoded = words.flatten().dictionary_encode()
    return encoded.dictionary, Ragged(encoded.indices.to_numpy(), words.offsets.to_numpy().astype(np.int64))


def _count(tokens: Ragged, kind: np.ndarray) -> np.ndarray:
    return tokens.sums(kind[tokens.values]) if kind.any() else np.zeros(len(tokens), np.int64)


def _find_candidates(tokens: pa.StringArray, news: NewsTable) -> tuple[np.ndarray, np.ndarray]:
    """Find what tokens among the candidates stand for, (tokens,) int32, and their labels, (tokens,) int8.

    `N1-0` and `N1-1` are labelled where `N1` is a known id and `N1` is unlabelled where it is one; ids may
    contain hyphens.
    """
    clicked = pc.ends_with(tokens, "-1")
    labelled = pc.or_(clicked, pc.ends_with(tokens, "-0"))
    rows = _find_news(pc.if_else(labelled, pc.utf8_slice_codeunits(tokens, 0, stop=-2), tokens), news)
    clicked, labelled = (flags.to_numpy(zero_copy_only=False) for flags in (clicked, labelled))
    labels = np.where(labelled, clicked, UNLABELLED).astype(np.int8)
    for k in np.flatnonzero((rows < 0) | (labelled & (rows == _NO_TOKEN))):
        token = tokens[int(k)].as_py()
        otherwise = _BAD_LABEL if token.rpartition("-")[0] in news.row_of else _UNKNOWN
        rows[k], labels[k] = news.row_of.get(token, otherwise), UNLABELLED
    return rows, labels


def _find_news(ids: pa.StringArray, news: NewsTable) -> np.ndarray:
    """Return the rows of news ids, (ids,) int32; that of an empty one is 0, of an unknown one -1."""
    return pc.index_in(ids, value_set=news.ids).fill_null(_UNKNOWN).to_numpy().copy()


class LogReader:
    """Joins blocks of lines into the arrays of a log.

    Args:
        news: the news that the log refers to.
        errors: of the file; told of faulty lines.
        append: adds parts to the arrays, which are those of `ImpressionLog.from_arrays`.
        labelled: whether the log is labelled; None leaves that to the first sound impression.
    """

    def __init__(
        self, news: NewsTable, errors: LineErrors, append: Callable[..., None], labelled: bool | None = None
    ) -> None:
        self.labelled = labelled
        self._users: list[pa.DictionaryArray] = []  # of each block
        self._news, self._errors, self._append = news, errors, append
        self._row_of: dict[bytes, int] = {}  # digest of a history as written, which is shorter -> its row
        self._unknown_in: dict[int, int] = {}  # row of a history -> unknown news in it, if any
        self.num_candidates = self._num_clicked = 0  # of all impressions, of all histories
        append(offsets=np.zeros(1, np.int64), history_offsets=np.zeros(1, np.int64))

    def add(self, block: _Block, lines: np.ndarray) -> None:
        """Add some lines. Of several errors in one line, the first one found counts; the earliest line's is raised."""
        table, labelled, unlabelled = block.table, block.labelled, block.unlabelled
        known = labelled + unlabelled
        sound = np.ones(len(lines), bool)

        def check(reason: str, wrong: np.ndarray, named: Callable[[int], Any] = lambda row: None) -> None:
            """Take out the rows that are `wrong`, (rows,) bool or how often, unless only their unknown news go."""
            rows = np.repeat(np.arange(len(lines)), wrong * sound)
            remedy = _UNKNOWN_REMEDY if reason == UNKNOWN_CANDIDATE else None
            self._errors.add(reason, lines[rows], lambda k: _PROBLEMS[reason].format(named(int(rows[k]))), remedy)
            if remedy is None:
                sound[rows] = False

        check("bad impression id", block.impression_id < 0, lambda row: table["impression id"][row])
        check("empty user id", pc.equal(table["user id"], "").to_numpy())
        check("bad time", block.time < 0, lambda row: table["time"][row].as_py())
        check("no candidates", known + block.unknown + block.bad == 0)
        check("bad label", block.bad > 0, lambda row: block.first(_BAD_LABEL, row))
        check(UNKNOWN_CANDIDATE, block.unknown, lambda row: block.first(_UNKNOWN, row))
        check("some candidates labelled and some not", (labelled > 0) & (unlabelled > 0))
        check("no known candidates", known == 0)
        if self.labelled is None and sound.any():
            self.labelled = bool(labelled[np.argmax(sound)])
        differs = (
            "no labels, but those before it have them" if self.labelled else "labels, but those before it have none"
        )
        check(_OTHER_KIND, unlabelled > 0 if self.labelled else labelled > 0, lambda row: differs)

        shown, users, histories = block.shown.values, block.users, block.histories
        if not sound.all() or (block.news <= 0).any():
            shown = shown[(block.news > 0)[shown] & block.shown.repeat(sound)]
            kept = table.filter(pa.array(sound))
            users, histories = (kept[name].combine_chunks().dictionary_encode() for name in ("user id", "history"))
        self._users.append(users)
        self._append(
            candidates=block.news[shown],
            labels=block.label[shown],
            offsets=self.num_candidates + np.cumsum(known[sound]),
            time=block.time[sound],
            impression_id=block.impression_id[sound],
            history_of=self._find_histories(histories, lines[sound]),
        )
        self.num_candidates += len(shown)
        self._errors.raise_earliest()

    def append_users(self) -> None:
        """Add the users of all lines, which ends the log; there must have been an impression."""
        users = pa.chunked_array(self._users).unify_dictionaries()
        for chunk in users.chunks:
            self._append(user_of=chunk.indices.to_numpy())
        user_bytes, user_offsets = pack_strings(users.chunk(0).dictionary)
        self._append(user_bytes=user_bytes, user_offsets=user_offsets)

    def _find_histories(self, histories: pa.DictionaryArray, lines: np.ndarray) -> np.ndarray:
        """Return the row of each history, (rows,) int32; those not met before are appended."""
        distinct, which = histories.dictionary, histories.indices.to_numpy()
        first_new = len(self._row_of)
        digests = (hashlib.blake2b(text, digest_size=16).digest() for text in distinct.cast(pa.binary()).to_pylist())
        rows = np.array([self._row_of.setdefault(digest, len(self._row_of)) for digest in digests], np.int32)

        tokens, history = _split(distinct.filter(pa.array(rows >= first_new)))
        news = _find_news(tokens, self._news)
        unknown = _count(history, news == _UNKNOWN)
        self._unknown_in |= {first_new + int(k): int(unknown[k]) for k in np.flatnonzero(unknown)}
        clicks = Ragged(news[history.values], history.offsets)
        clicks = clicks.keep(clicks.values > 0)
        self._append(histories=clicks.values, history_offsets=self._num_clicked + clicks.offsets[1:])
        self._num_clicked += len(clicks.values)

        if self._unknown_in:
            unknown = np.array([self._unknown_in.get(row, 0) for row in rows.tolist()], np.int64)
            wrong = np.repeat(np.arange(len(lines)), unknown[which])

            def describe(k: int) -> str:
                history = filter(None, histories[int(wrong[k])].as_py().split(" "))
                news_id = next(news_id for news_id in history if news_id not in self._news.row_of)
                return _PROBLEMS[UNKNOWN_IN_HISTORY].format(news_id)

            self._errors.add(UNKNOWN_IN_HISTORY, lines[wrong], describe, _UNKNOWN_REMEDY)
        return rows[which]


# === The clock of MIND's files: times of day without a zone, which the package takes as UTC ===

_TIME_FORMATS = ("%m/%d/%Y %I:%M:%S %p", "%Y-%m-%d %H:%M:%S")
_CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,]\d+)?)?"
_HALF = r"\s*(?P<half>[AP])\.?M\.?"
_ZONE = r"\s*(?P<zone>Z|UTC|GMT|(?P<sign>[+-])(?P<hours>\d{2}):?(?P<minutes>\d{2})?)?"
_TIMES = [
    re.compile(form.format(clock=_CLOCK, half=_HALF, zone=_ZONE), re.ASCII | re.IGNORECASE)
    for form in (
        r"(?P<year>\d{{4}})(?P<mark>[/-])(?P<month>\d{{1,2}})(?P=mark)(?P<day>\d{{1,2}})(?:T|\s+){clock}(?:{half})?{zone}",
        r"(?P<month>\d{{1,2}})/(?P<day>\d{{1,2}})/(?P<year>\d{{4}}),?\s+{clock}{half}{zone}",
    )
]


def unix_seconds(time: datetime) -> int:
    """Return Unix seconds of a time by the files' clock; a zone of its own does not count."""
    return int(time.replace(tzinfo=UTC).timestamp())


def file_time(seconds: int) -> datetime:
    """Return the time by the files' clock, without a zone, of Unix seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).replace(tzinfo=None)


def read_time(text: str) -> int | None:
    """Return Unix seconds of a time, None where it is none.

    It is MIND's, as `11/12/2019 2:14:46 PM`, or has the year first, as `2019-11-12T14:14:46.5+01:00`. Seconds may be
    missing; fractions of one are dropped. A time with a zone, an offset, Z, UTC or GMT, is brought to UTC. A day before
    a month, and the names of other zones, can mean several things, and are not read.
    """
    found = next(filter(None, (form.fullmatch(text.strip()) for form in _TIMES)), None)
    if found is None:
        return None
    part = found.groupdict()
    hour = int(part["hour"])
    if part["half"] is not None:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + 12 * (part["half"] in "Pp")
    day = [int(part[name]) for name in ("year", "month", "day")]
    offset = timedelta(hours=int(part["hours"] or 0), minutes=int(part["minutes"] or 0))
    try:
        time = datetime(*day, hour, int(part["minute"]), int(part["second"] or 0), tzinfo=UTC)
        return int((time + offset if part["sign"] == "-" else time - offset).timestamp())
    except (ValueError, OverflowError):
        return None


def parse_times(texts: pa.ChunkedArray) -> np.ndarray:
    """Return Unix seconds of times in the forms of `read_time`, (texts,) int64; what is no time since 1970 is -1."""
    times = pc.coalesce(*(pc.strptime(texts, format=form, unit="s", error_is_null=True) for form in _TIME_FORMATS))
    # strptime takes 2/30 for 3/1 or 3/2; a day that ran over so is at most the third.
    ran_over = pc.and_(
        pc.less_equal(pc.day(times), 3),
        pc.match_substring_regex(texts, "^[0-9]+[/-]([0-9]+-)?(29|30|31)[/ ]"),
    )
    seconds = pc.if_else(ran_over, None, times).cast(pa.int64())
    others = np.flatnonzero(seconds.is_null())
    read = {text: read_time(text) for text in pc.unique(texts.take(others)).to_pylist()} if len(others) else {}
    seconds = pc.fill_null(seconds, -1).to_numpy().copy()
    seconds[others] = [-1 if read[text] is None else read[text] for text in texts.take(others).to_pylist()]
    return np.maximum(seconds, -1)


def mind_times(seconds: np.ndarray) -> pa.StringArray:
    """Write Unix seconds as MIND does, who pads minutes and seconds but not the rest: `11/9/2019 2:04:46 PM`."""
    padded = pc.strftime(pa.array(seconds).cast(pa.timestamp("s")), format="%m/%d/%Y %I:%M:%S %p", locale="C")
    return pc.replace_substring_regex(padded, r"(^|[/ ])0", r"\1")
