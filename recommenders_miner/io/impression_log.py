"""MIND's `behaviors.tsv` as ragged columns of integers."""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.errors import DataFormatError
from recommenders_miner.io import cache as array_cache
from recommenders_miner.io.news_table import NewsTable
from recommenders_miner.io.tsv import (
    LineFaults,
    OnError,
    SkipReport,
    describe_columns,
    read_tsv,
    require_file,
)

LOGGER = logging.getLogger("recommenders_miner")

CACHE_FOLDER = ".recommenders_miner_cache"
_FILE_COLUMNS = ("impression id", "user id", "time", "history", "impressions")
_TIME_FORMATS = ("%m/%d/%Y %I:%M:%S %p", "%Y-%m-%d %H:%M:%S")
_READER_VERSION = 1  # raise it whenever the same file is to be read into other arrays
_IN_MEMORY = Path("<columns>")
_ANONYMOUS = "anonymous"

# What a token stands for, where it stands for no news. Row 0, the padding news, stands for an empty token.
_NO_TOKEN, _UNKNOWN_NEWS, _BAD_LABEL = 0, -1, -2
_UNLABELLED = -1
_UNKNOWN_REMEDY = 'Is the news table that of the same split? on_error="skip" leaves unknown news out.'


@dataclass(frozen=True, eq=False, repr=False)
class ImpressionLog:
    """A click log of I impressions, H distinct histories and distinct users, in compressed sparse rows.

    Impression i showed the news `candidates[offsets[i]:offsets[i + 1]]` to the user `users[user_of[i]]`, who
    had clicked on `histories[history_offsets[h]:history_offsets[h + 1]]` before, h being `history_of[i]`.
    News are given as rows of the `NewsTable` that the log was read with. The arrays are read-only.

    Attributes:
        candidates: the news shown, (total candidates,) int32.
        labels: 1 for a click, 0 for none, -1 throughout an unlabelled log, (total candidates,) int8.
        offsets: where each impression's candidates begin and the last one's end, (I + 1,) int64.
        histories: the news of the distinct histories, oldest first and never cut, (total history,) int32.
        history_offsets: where each history begins and the last one ends, (H + 1,) int64.
        history_of: the history of each impression, (I,) int32.
        user_of: the user of each impression, (I,) int32.
        time: Unix seconds, the file's times taken as UTC, (I,) int64.
        impression_id: the file's own number of each impression, (I,) int64.
        users: the distinct user ids, in the order of their first impression.
        skipped: what `read(…, on_error="skip")` left out; None where nothing may be left out.
    """

    candidates: np.ndarray
    labels: np.ndarray
    offsets: np.ndarray
    histories: np.ndarray
    history_offsets: np.ndarray
    history_of: np.ndarray
    user_of: np.ndarray
    time: np.ndarray
    impression_id: np.ndarray
    users: pa.StringArray
    skipped: SkipReport | None = None

    @classmethod
    def read(
        cls,
        path: str | Path,
        news: NewsTable,
        on_error: OnError = "raise",
        separator: str = "\t",
        cache: bool | str | Path = True,
    ) -> ImpressionLog:
        r"""Reads a file in the format of MIND's `behaviors.tsv`.

        The file has five columns and no header: impression id, user id, time (`11/12/2019 2:14:46 PM` or
        `2019-11-12 14:14:46`), history (news ids separated by spaces; may be empty) and impressions (`N1-0
        N2-1`, or `N1 N2` in an unlabelled log).

        Histories are distinct as they are written in the file. What was read is kept in a memory-mapped
        cache, under the content of the file and of the news table, so that another log, another table or a
        changed file is never mistaken for it.

        Args:
            path: the file.
            news: the news that the log refers to.
            on_error: "raise" stops at the first faulty line. "skip" leaves out faulty lines, and of sound
                lines the news that the table lacks; it counts both in `skipped` and logs a warning. An
                impression left without candidates is left out.
            separator: what stands between columns.
            cache: True keeps the cache in the folder `.recommenders_miner_cache` beside the file; a path
                keeps it in that folder; False keeps none. Where the folder cannot be written, a warning is
                logged.

        Raises:
            DataFormatError: the file is missing, a folder or empty; or a line has not five columns, is not
                UTF-8, has a faulty impression id, time or label, no user id, no candidates, a news that the
                table lacks, or only some labels where others have all or none.
        """
        path = Path(path)
        require_file(path, describe_columns(_FILE_COLUMNS, separator))
        if cache is False:
            return cls._from_arrays(*_read_arrays(path, news, on_error, separator))
        key = _cache_key(path, news, on_error, separator)
        folder = (path.parent / CACHE_FOLDER if cache is True else Path(cache)) / f"behaviors-{key}"
        cached = array_cache.load(folder, key)
        if cached is not None:
            skipped = None if on_error == "raise" else SkipReport(path, **cached.meta)
            if skipped is not None and skipped.counts:
                LOGGER.warning("%s", skipped.summary())
            return cls._from_arrays(cached.arrays, skipped)
        arrays, skipped = _read_arrays(path, news, on_error, separator)
        meta = {"counts": skipped.counts, "lines": skipped.lines} if skipped is not None else None
        return cls._from_arrays(array_cache.keep(folder, key, path, arrays, meta).arrays, skipped)

    @classmethod
    def from_columns(
        cls,
        news: NewsTable,
        histories: Sequence[Sequence[str]],
        candidates: Sequence[Sequence[str]],
        labels: Sequence[Sequence[int]] | None = None,
        users: Sequence[str] | None = None,
        time: Sequence[int] | None = None,
        impression_id: Sequence[int] | None = None,
    ) -> ImpressionLog:
        """Makes a log from columns in memory, one entry per impression.

        Args:
            news: the news that the log refers to.
            histories: the ids of the news that the user had clicked on before, oldest first.
            candidates: the ids of the news shown.
            labels: 1 for each candidate clicked on, 0 for the others; None makes an unlabelled log.
            users: user ids; None makes all impressions those of one user, "anonymous".
            time: Unix seconds; None makes them 0.
            impression_id: non-negative numbers; None makes them 1 … I.

        Raises:
            DataFormatError: the columns differ in length, an impression has no candidates or not as many
                labels, a label is neither 0 nor 1, or a news id is unknown. The error's `line` counts
                impressions from 1.
        """
        count = len(candidates)
        optional = {"labels": labels, "users": users, "time": time, "impression_id": impression_id}
        for name, values in {"histories": histories, **optional}.items():
            if values is not None and len(values) != count:
                raise DataFormatError(_IN_MEMORY, f"{count} impressions, but {len(values)} entries of {name}.")
        candidate_rows, candidate_counts = _rows_of_lists(candidates, news, "candidate")
        if count == 0 or not candidate_counts.all():
            line = int(np.argmin(candidate_counts)) + 1 if count else None
            raise DataFormatError(_IN_MEMORY, "there are no candidates.", line=line)
        distinct: dict[tuple[str, ...], int] = {}
        history_of = [distinct.setdefault(tuple(history), len(distinct)) for history in histories]
        first_impression = np.unique(history_of, return_index=True)[1]
        history_rows, history_counts = _rows_of_lists(list(distinct), news, "history", first_impression)
        user_index: dict[str, int] = {}
        users = [_ANONYMOUS] * count if users is None else users
        user_of = [user_index.setdefault(user, len(user_index)) for user in users]
        return cls(
            candidates=candidate_rows,
            labels=_labels_of_lists(labels, candidate_counts),
            offsets=_offsets(candidate_counts),
            histories=history_rows,
            history_offsets=_offsets(history_counts),
            history_of=np.array(history_of, np.int32),
            user_of=np.array(user_of, np.int32),
            time=np.zeros(count, np.int64) if time is None else np.array(time, np.int64),
            impression_id=np.arange(1, count + 1) if impression_id is None else np.array(impression_id, np.int64),
            users=pa.array(list(user_index), pa.string()),
        )

    @classmethod
    def _from_arrays(cls, arrays: Mapping[str, np.ndarray], skipped: SkipReport | None) -> ImpressionLog:
        """Makes a log of the arrays that `_read_arrays` returns and the cache holds."""
        columns = dict(arrays)
        users = array_cache.unpack_strings(columns.pop("user_bytes"), columns.pop("user_offsets"))
        return cls(**columns, users=users, skipped=skipped)

    def __post_init__(self) -> None:
        for name, values in list(vars(self).items()):
            if isinstance(values, np.ndarray):
                frozen = values.view()  # the caller's own array stays as it is
                frozen.setflags(write=False)
                object.__setattr__(self, name, frozen)

    def __len__(self) -> int:
        """The number of impressions."""
        return len(self.impression_id)

    def __repr__(self) -> str:
        kind = "labelled" if self.labelled else "unlabelled"
        return (
            f"ImpressionLog({len(self):,} {kind} impressions, {len(self.candidates):,} candidates, "
            f"{len(self.history_offsets) - 1:,} histories, {len(self.users):,} users)"
        )

    @property
    def num_impressions(self) -> int:
        """The number of impressions."""
        return len(self)

    @property
    def labelled(self) -> bool:
        """Whether the log says which candidates were clicked."""
        return bool(self.labels[0] != _UNLABELLED)


def _cache_key(path: Path, news: NewsTable, on_error: OnError, separator: str) -> str:
    """Names everything that the arrays of a log depend on."""
    with open(path, "rb") as file:
        content = hashlib.file_digest(file, hashlib.blake2b).hexdigest()
    parts = (_READER_VERSION, content, news.digest, on_error, separator)
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


# === Reading a file ===


def _read_arrays(
    path: Path, news: NewsTable, on_error: OnError, separator: str
) -> tuple[dict[str, np.ndarray], SkipReport | None]:
    """Reads a log into the arrays that are cached, and what was skipped."""
    faults = LineFaults(path, on_error)
    reader = _LogReader(news, faults)
    for block, lines in read_tsv(path, _FILE_COLUMNS, faults, separator):
        reader.add(block, lines)
        faults.raise_earliest()
    skipped = faults.log_summary()
    if reader.labelled is None:
        expected = describe_columns(_FILE_COLUMNS, separator)
        raise DataFormatError(path, f"no line could be used; expected {expected}.")
    return reader.arrays(), skipped


class _LogReader:
    """Turns blocks of lines into arrays.

    Python sees only the distinct tokens, users and histories of a block; all else is done on whole columns.

    Args:
        news: the news that the log refers to.
        faults: told of every faulty line.
    """

    def __init__(self, news: NewsTable, faults: LineFaults) -> None:
        self.labelled: bool | None = None  # known from the first sound impression on
        self._row_of = news.row_of
        self._faults = faults
        self._candidate_tokens = _CandidateTokens(news.row_of)
        self._users: dict[str, int] = {}
        self._histories: dict[bytes, int] = {}  # digest of a history as written -> its row
        self._unknown_in_history: dict[int, int] = {}  # row of a history -> unknown news in it, if any
        self._chunks: dict[str, list[np.ndarray]] = defaultdict(list)

    def add(self, block: pa.Table, lines: np.ndarray) -> None:
        """Reads some lines. Of several faults in one line, the first one found counts."""
        rows = _SoundRows(lines, self._faults)
        impression_id = _parse_impression_ids(block["impression id"])
        rows.reject(
            impression_id < 0,
            "bad impression id",
            lambda row: f"impression id '{block['impression id'][row]}' is not a non-negative integer.",
        )
        no_user = _as_numpy(pc.equal(block["user id"], ""))
        rows.reject(no_user, "empty user id", lambda _: "the user id is empty.")
        time = _parse_times(block["time"])
        rows.reject(
            time < 0,
            "bad time",
            lambda row: f"expected a time like 11/12/2019 2:14:46 PM, got {block['time'][row].as_py()!r}.",
        )
        self._read_candidates(block["impressions"], rows)
        kept = np.flatnonzero(rows.sound)
        self._append(
            time=time[kept],
            impression_id=impression_id[kept],
            user_of=self._find_users(block["user id"].take(kept)),
            history_of=self._find_histories(block["history"].take(kept), lines[kept]),
        )

    def _read_candidates(self, texts: pa.ChunkedArray, rows: _SoundRows) -> None:
        """Appends the candidates of the sound rows, after the last rows with faults are rejected."""
        tokens, token_of, starts = _split_on_spaces(texts)
        candidate, label = (meaning[token_of] for meaning in self._candidate_tokens.look_up(tokens))

        def count(mask: np.ndarray) -> np.ndarray:
            """How many tokens of each row are in the mask, (rows,) int64."""
            return np.add.reduceat(mask, starts, dtype=np.int64)

        def first(kind: int, row: int) -> str:
            """The first token of a row that has no news, but is of this kind."""
            return tokens[token_of[starts[row] + np.argmax(candidate[starts[row] :] == kind)]]

        rows.reject(count(candidate != _NO_TOKEN) == 0, "no candidates", lambda _: "the impression has no candidates.")
        rows.reject(
            count(candidate == _BAD_LABEL) > 0,
            "bad label",
            lambda row: f"the label after the last hyphen must be 0 or 1, got {first(_BAD_LABEL, row)!r}.",
        )
        unknown = np.repeat(np.arange(len(starts)), count(candidate == _UNKNOWN_NEWS) * rows.sound)
        self._faults.add(
            "unknown news id among the candidates",
            rows.lines[unknown],
            lambda k: f"the candidate {first(_UNKNOWN_NEWS, unknown[k])!r} is not in the news table.",
            remedy=_UNKNOWN_REMEDY,
        )
        labelled = count((candidate > 0) & (label != _UNLABELLED))
        unlabelled = count((candidate > 0) & (label == _UNLABELLED))
        rows.reject(
            (labelled > 0) & (unlabelled > 0),
            "some candidates labelled and some not",
            lambda _: "some candidates of the impression have a label and some have none.",
        )
        rows.reject(labelled + unlabelled == 0, "no known candidates", lambda _: "none of the candidates is known.")
        if self.labelled is None and rows.sound.any():
            self.labelled = bool(labelled[np.argmax(rows.sound)])
        odd = unlabelled > 0 if self.labelled else labelled > 0
        here, before = ("no labels", "have them") if self.labelled else ("labels", "have none")
        rows.reject(
            odd,
            "labels where the log has none, or none where it has them",
            lambda _: f"the impression has {here}, but those before it {before}.",
        )
        token_counts = np.diff(starts, append=len(token_of))
        kept = (candidate > 0) & np.repeat(rows.sound, token_counts)
        counts = (labelled + unlabelled)[rows.sound]
        self._append(candidates=candidate[kept], labels=label[kept], candidate_counts=counts)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything read; can be called once, since it gives up each column's blocks as it joins them."""
        user_bytes, user_offsets = array_cache.pack_strings(pa.array(list(self._users), pa.string()))
        columns = {name: np.concatenate(self._chunks.pop(name)) for name in list(self._chunks)}
        return {
            "offsets": _offsets(columns.pop("candidate_counts")),
            "history_offsets": _offsets(columns.pop("history_counts")),
            "user_bytes": user_bytes,
            "user_offsets": user_offsets,
            **columns,
        }

    def _append(self, **columns: np.ndarray) -> None:
        for name, values in columns.items():
            self._chunks[name].append(values)

    def _find_users(self, ids: pa.ChunkedArray) -> np.ndarray:
        """The index of each user, (rows,) int32; users not met before are added."""
        distinct, index = _distinct(ids)
        users = self._users
        users_of_distinct = [users.setdefault(user, len(users)) for user in distinct.to_pylist()]
        return np.array(users_of_distinct, np.int32)[index]

    def _find_histories(self, texts: pa.ChunkedArray, lines: np.ndarray) -> np.ndarray:
        """The row of each history, (rows,) int32; histories not met before are added."""
        distinct, index = _distinct(texts)
        digests = [hashlib.blake2b(text, digest_size=16).digest() for text in distinct.cast(pa.binary()).to_pylist()]
        new = [k for k, digest in enumerate(digests) if digest not in self._histories]
        if new:
            first_row = len(self._histories)
            self._histories |= {digests[k]: row for row, k in enumerate(new, start=first_row)}
            self._read_histories(distinct.take(pa.array(new)), first_row)
        row_of_distinct = [self._histories[digest] for digest in digests]

        unknown_count = np.array([self._unknown_in_history.get(row, 0) for row in row_of_distinct], np.int64)
        faulty = np.repeat(np.arange(len(lines)), unknown_count[index])

        def describe(k: int) -> str:
            history = texts[int(faulty[k])].as_py().split(" ")
            news_id = next(news_id for news_id in history if news_id and news_id not in self._row_of)
            return f"the news {news_id!r} in the history is not in the news table."

        self._faults.add("unknown news id in the history", lines[faulty], describe, remedy=_UNKNOWN_REMEDY)
        return np.array(row_of_distinct, np.int32)[index]

    def _read_histories(self, texts: pa.StringArray, first_row: int) -> None:
        """Appends histories that were not met before; the first of them gets the row `first_row`."""
        tokens, token_of, starts = _split_on_spaces(texts)
        news = [self._row_of.get(token, _UNKNOWN_NEWS) if token else _NO_TOKEN for token in tokens]
        news = np.array(news, np.int32)[token_of]
        unknown = np.add.reduceat(news == _UNKNOWN_NEWS, starts, dtype=np.int64)
        self._unknown_in_history |= {first_row + int(k): int(unknown[k]) for k in np.flatnonzero(unknown)}
        self._append(histories=news[news > 0], history_counts=np.add.reduceat(news > 0, starts, dtype=np.int64))


class _SoundRows:
    """The rows of a block that no fault has been found in so far.

    Attributes:
        lines: the 1-based line of each row, (rows,) int64.
        sound: which rows are still sound, (rows,) bool.
    """

    def __init__(self, lines: np.ndarray, faults: LineFaults) -> None:
        self.lines = lines
        self.sound = np.ones(len(lines), bool)
        self._faults = faults

    def reject(self, faulty: np.ndarray, reason: str, describe: Callable[[int], str]) -> None:
        """Takes out the rows that are `faulty`, (rows,) bool; `describe` words the problem of a row."""
        rows = np.flatnonzero(self.sound & faulty)
        self._faults.add(reason, self.lines[rows], lambda k: describe(int(rows[k])))
        self.sound[rows] = False


class _CandidateTokens(dict[str, tuple[int, int]]):
    """What each token among the candidates means: the row of its news, or why it has none, and its label.

    `N1-0` and `N1-1` are labelled where `N1` is a known news and `N1` is unlabelled where it is one; ids may
    contain hyphens.
    """

    def __init__(self, row_of: Mapping[str, int]) -> None:
        super().__init__({"": (_NO_TOKEN, _UNLABELLED)})
        self._row_of = row_of

    def __missing__(self, token: str) -> tuple[int, int]:
        news_id, _, label = token.rpartition("-")
        if news_id in self._row_of and label in ("0", "1"):
            meaning = self._row_of[news_id], int(label)
        elif token in self._row_of:
            meaning = self._row_of[token], _UNLABELLED
        elif news_id in self._row_of:
            meaning = _BAD_LABEL, _UNLABELLED
        else:
            meaning = _UNKNOWN_NEWS, _UNLABELLED
        self[token] = meaning
        return meaning

    def look_up(self, tokens: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        """The rows, (tokens,) int32, and the labels, (tokens,) int8, of some tokens, at least one."""
        rows, labels = zip(*(self[token] for token in tokens), strict=True)
        return np.array(rows, np.int32), np.array(labels, np.int8)


def _parse_impression_ids(texts: pa.ChunkedArray) -> np.ndarray:
    """The numbers, (rows,) int64; -1 where a text is no non-negative integer that an int64 holds."""
    sound = pc.match_substring_regex(texts, "^[0-9]{1,18}$")
    return _as_numpy(pc.if_else(sound, texts, "-1").cast(pa.int64()))


def _parse_times(texts: pa.ChunkedArray) -> np.ndarray:
    """Unix seconds, (rows,) int64; -1 where a text is no time since 1970."""
    times = pc.coalesce(*(pc.strptime(texts, format=form, unit="s", error_is_null=True) for form in _TIME_FORMATS))
    # strptime takes 2/30 for 3/1 or 3/2; a day that ran over so is at most the third.
    ran_over = pc.and_(
        pc.less_equal(pc.day(times), 3),
        pc.match_substring_regex(texts, "^[0-9]+[/-]([0-9]+-)?(29|30|31)[/ ]"),
    )
    seconds = pc.if_else(ran_over, None, times).cast(pa.int64())
    return np.maximum(_as_numpy(pc.fill_null(seconds, -1)), -1)


def _distinct(texts: pa.ChunkedArray) -> tuple[pa.StringArray, np.ndarray]:
    """The distinct texts in the order of their first row, and for each row the index of its own."""
    encoded = texts.combine_chunks().dictionary_encode()
    return encoded.dictionary, _as_numpy(encoded.indices)


def _split_on_spaces(texts: pa.ChunkedArray | pa.StringArray) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Splits texts into tokens, at least one each; two spaces in a row enclose an empty token.

    Returns:
        The distinct tokens; the index of each token among them, (tokens,) int32; and the index of each text's
        first token, (texts,) int32.
    """
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    split = pc.split_pattern(texts, " ")
    encoded = split.flatten().dictionary_encode()
    return encoded.dictionary.to_pylist(), _as_numpy(encoded.indices), _as_numpy(split.offsets)[:-1]


def _as_numpy(values: pa.Array | pa.ChunkedArray) -> np.ndarray:
    return values.to_numpy() if isinstance(values, pa.ChunkedArray) else values.to_numpy(zero_copy_only=False)


def _offsets(counts: np.ndarray) -> np.ndarray:
    """Where segments of the given lengths begin, and the last one ends, (len(counts) + 1,) int64."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


# === Columns in memory ===


def _rows_of_lists(
    lists: Sequence[Sequence[str]], news: NewsTable, kind: str, impressions: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The news rows of all lists, (total,) int32, and the length of each list, (lists,) int64.

    `kind` and `impressions`, the impression that each list belongs to, are for the error message.
    """
    counts = np.array([len(ids) for ids in lists], np.int64)
    ids = list(itertools.chain.from_iterable(lists))
    rows = np.array([news.row_of.get(news_id, _UNKNOWN_NEWS) for news_id in ids], np.int32)
    unknown = np.flatnonzero(rows == _UNKNOWN_NEWS)
    if len(unknown):
        owner = int(np.searchsorted(np.cumsum(counts), unknown[0], side="right"))
        impression = owner if impressions is None else int(impressions[owner])
        problem = f"the {kind} news {ids[unknown[0]]!r} is not in the news table."
        raise DataFormatError(_IN_MEMORY, problem, line=impression + 1)
    return rows, counts


def _labels_of_lists(labels: Sequence[Sequence[int]] | None, candidate_counts: np.ndarray) -> np.ndarray:
    """The labels of all candidates, (total candidates,) int8."""
    if labels is None:
        return np.full(candidate_counts.sum(), _UNLABELLED, np.int8)
    for line, (values, count) in enumerate(zip(labels, candidate_counts, strict=True), start=1):
        if len(values) != count:
            raise DataFormatError(_IN_MEMORY, f"{count} candidates, but {len(values)} labels.", line=line)
        if not all(label in (0, 1) for label in values):
            raise DataFormatError(_IN_MEMORY, f"a label must be 0 or 1, got {list(values)}.", line=line)
    return np.array(list(itertools.chain.from_iterable(labels)), np.int8)
