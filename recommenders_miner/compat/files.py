"""The dictionaries and word vectors of Microsoft Recommenders' newsrec, for models that start from its files.

Recommenders keeps its dictionaries `{name: id}` as pickles, which can run code when they are read. Here they are read
as JSON, into which `convert_pickle` turns them without running anything.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import pickle
import pickletools
import reprlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from recommenders_miner.data.tsv import require_file
from recommenders_miner.data.vocabulary import PADDING_ID, UNKNOWN_ID, Vocabulary, token_problem
from recommenders_miner.errors import DataFormatError, RecommendersMinerError
from recommenders_miner.hparams import HParams
from recommenders_miner.storage import atomic_write

LOGGER = logging.getLogger("recommenders_miner")

_DICTIONARY = "a dictionary of Recommenders: names with ids, which are the whole numbers 1, 2, …, each once"
_MATRIX = "an embedding matrix in NumPy's .npy format: floating-point numbers, a row for each id of the dictionary"
_PICKLE_NAMES = (".pkl", ".pickle")
# A pickle of protocol 2 or later, of protocol 0 and of protocol 1; no JSON starts so.
_PICKLE_STARTS = (b"\x80", b"(", b"}")
# One is meant, and a few are read to say what is wrong; each takes a byte of the file, and 64 of memory.
_MOST_DICTS = 16
# All that a pickled dictionary of text and whole numbers is made of.
_OPCODES = {
    *("PROTO", "FRAME", "STOP", "MARK"),
    *("EMPTY_DICT", "DICT", "SETITEM", "SETITEMS"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
    *("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET"),
}
_MARK = object()
"""What the operation MARK leaves on the stack."""


# === Dictionaries ===


def read_dictionary(path: str | Path) -> dict[str, int]:
    """Reads a dictionary `{name: id}` in JSON.

    Args:
        path: the file; the name of a pickle stands for the JSON file that `convert_pickle` wrote beside it.

    Returns:
        The ids by name: 1 to n, each once.

    Raises:
        DataFormatError: the file is missing or holds something else, or is a pickle that is not converted.
    """
    path = _readable(Path(path))
    require_file(path, f"JSON of {_DICTIONARY}")
    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=functools.partial(_distinct, path))
    except DataFormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise DataFormatError(path, f"is not readable as JSON ({error}); expected {_DICTIONARY}.") from None
    return _checked(path, content)


def read_vocabulary(path: str | Path) -> Vocabulary:
    """Reads a dictionary as a vocabulary: padding, unknown, then the names in the order of their ids.

    Names that nothing in MIND's files can be called (the empty one, with line breaks, not in UTF-8) are left out.

    Raises:
        DataFormatError: as `read_dictionary` does.
    """
    dictionary = read_dictionary(path)
    names = [name for name in sorted(dictionary, key=dictionary.__getitem__) if not token_problem(name, ())]
    if len(names) < len(dictionary):
        left_out = len(dictionary) - len(names)
        LOGGER.warning("%s: left out %d names that are empty, hold line breaks or are not UTF-8.", path, left_out)
    return Vocabulary(names)


def read_vocabularies(hparams: HParams) -> dict[str, Vocabulary]:
    """Reads the dictionaries that the hyperparameters name, by field of `Vocabularies`.

    Raises:
        DataFormatError: as `read_dictionary` does.
    """
    files = {
        "words": hparams.wordDict_file,
        "users": hparams.userDict_file,
        "categories": hparams.vertDict_file,
        "subcategories": hparams.subvertDict_file,
    }
    return {name: read_vocabulary(path) for name, path in files.items() if path is not None}


def _readable(path: Path) -> Path:
    """Returns the file to read in the place of `path`: itself, or a pickle's converted form."""
    if not _is_pickle(path):
        return path
    converted = path.with_suffix(".json")
    if converted != path and os.path.isfile(converted):
        if not os.path.exists(path) or converted.stat().st_mtime_ns >= path.stat().st_mtime_ns:
            return converted
        state = f"; {converted.name} beside it is older"
    else:
        state = ""
    require_file(path, f"a pickle of {_DICTIONARY}, or {converted.name} beside it")
    command = shlex.join(["recommenders-miner", "convert-dict", str(path)])
    raise DataFormatError(
        path,
        f"is a pickle, and pickles are not read, since they can run code when they are{state}.",
        remedy=f"Convert it once with `{command}`; its name may then stay as it is.",
    )


def _is_pickle(path: Path) -> bool:
    if path.suffix in _PICKLE_NAMES:
        return True
    if not os.path.isfile(path):  # Path.is_file() raises where a name is too long
        return False
    with open(path, "rb") as file:
        return file.read(1) in _PICKLE_STARTS


def _distinct(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Makes a dict of a JSON object, in which a name might stand twice."""
    content: dict[str, Any] = {}
    for name, value in pairs:
        if name in content:
            raise DataFormatError(path, f"the name {reprlib.repr(name)} stands there twice; expected {_DICTIONARY}.")
        content[name] = value
    return content


def _checked(path: Path, content: Any) -> dict[str, int]:
    """Returns `content` if it is a dictionary of Recommenders'."""
    if type(content) is not dict:
        raise DataFormatError(path, f"holds a {type(content).__name__}; expected {_DICTIONARY}.")
    name_of: list[str | None] = [None] * (len(content) + 1)  # no dict, as numbers can be chosen so that it is slow
    for name, number in content.items():
        shown = reprlib.repr(name)
        if type(number) is not int:
            problem = f"the id of {shown} is a {type(number).__name__} and no whole number"
        elif not 1 <= number <= len(content):
            value = number if number.bit_length() < 64 else "too large"
            problem = f"the id of {shown} is {value}, which is not one of 1 to {len(content):,}, the number of names"
        elif name_of[number] is not None:
            problem = f"{reprlib.repr(name_of[number])} and {shown} have the same id, {number}"
        else:
            name_of[number] = name
            continue
        raise _not_numbered(path, problem)
    return content


def _not_numbered(path: Path, problem: str) -> DataFormatError:
    return DataFormatError(path, f"{problem}.", remedy="Number the names 1, 2, …; 0 stands for what is unknown.")


# === Word vectors ===


def read_matrix(path: str | Path, dictionary_file: str | Path, words: Vocabulary) -> np.ndarray:
    """Reads the vectors of a vocabulary's words from a matrix whose rows a dictionary numbers.

    Args:
        path: the .npy file, (n+1, dim) floating-point numbers; row 0 is what unknown words have.
        dictionary_file: the dictionary with the ids 1 to n.
        words: the words that vectors are wanted for; those that the dictionary lacks get row 0.

    Returns:
        (len(words), dim) float32: padding is zero, the unknown word is row 0.

    Raises:
        DataFormatError: a file is missing or damaged, or the matrix does not fit the dictionary.
    """
    path = Path(path)
    dictionary = read_dictionary(dictionary_file)
    require_file(path, _MATRIX)
    try:
        matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy lets through whatever parsing a damaged header leads it into
        raise DataFormatError(path, f"is not readable as a matrix ({error}); expected {_MATRIX}.") from None
    if not isinstance(matrix, np.ndarray) or matrix.dtype.kind != "f" or matrix.ndim != 2 or not matrix.shape[1]:
        found = f"{matrix.dtype} of shape {matrix.shape}" if isinstance(matrix, np.ndarray) else "an archive"
        raise DataFormatError(path, f"holds {found}; expected {_MATRIX}.")
    if len(matrix) != len(dictionary) + 1:
        raise DataFormatError(
            path,
            f"has {len(matrix):,} rows; expected {len(dictionary) + 1:,}, one for each id of {dictionary_file} and "
            "row 0 for unknown words.",
            remedy="Give wordEmb_file and wordDict_file that were made together.",
        )
    rows = np.array([0, 0, *(dictionary.get(word, 0) for word in words.tokens[UNKNOWN_ID + 1 :])])
    with np.errstate(over="ignore"):  # what becomes infinite is refused below
        vectors = matrix[rows].astype("float32")
    vectors[PADDING_ID] = 0.0
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise DataFormatError(path, f"row {rows[np.argmin(finite)]} holds a number that is not finite in float32.")
    return vectors


# === Converting pickles ===


def convert_pickle(path: str | Path) -> Path:
    """Writes a pickled dictionary as JSON beside it, the name's ending changed to .json, whole or not at all.

    Nothing in the pickle is run: it may hold a dict, text and whole numbers, and is refused before it is read if it
    asks for more.

    Args:
        path: the pickle, of any protocol.

    Returns:
        The file that was written.

    Raises:
        DataFormatError: the file is missing, damaged, or holds something else.
        RecommendersMinerError: what stands at the JSON file's name is no dictionary.
    """
    path = Path(path)
    require_file(path, f"a pickle of {_DICTIONARY}")
    converted = path.with_suffix(".json")
    if converted == path:
        name = path.with_suffix(".pkl").name
        raise RecommendersMinerError(f"{path}: converting would overwrite it. Rename it to {name} first.")
    dictionary = _checked(path, _unpickled(path))
    if converted.exists():
        try:
            read_dictionary(converted)
        except DataFormatError as error:
            raise RecommendersMinerError(f"Not overwritten, since it is no dictionary: {error}") from None
    with atomic_write(converted) as partial:
        partial.write_text(json.dumps(dictionary, indent=0) + "\n", encoding="utf-8")
    return converted


def _unpickled(path: Path) -> Any:
    """Reads a pickle of dicts, text and whole numbers."""
    try:
        return _built(path, path.read_bytes())
    except DataFormatError:
        raise
    except Exception as error:  # whatever a damaged pickle leads to
        raise DataFormatError(path, f"is no pickle, or a damaged one ({error}); expected {_DICTIONARY}.") from None


def _built(path: Path, data: bytes) -> Any:
    """Builds what a pickle describes.

    Python's own reader is not used, since it takes numbers for names, too: those that hash alike, as multiples of
    2**61 - 1 do, it compares each with all before it. Text hashes differently in every process.
    """
    stack: list[Any] = []
    memo: list[Any] = []
    for name, argument in _operations(path, data):
        match name:
            case "PROTO":
                if argument > pickle.HIGHEST_PROTOCOL:
                    raise ValueError(f"protocol {argument}")
            case "FRAME":
                if argument > len(data):
                    raise ValueError("a frame is longer than the file")
            case "MARK":
                stack.append(_MARK)
            case "EMPTY_DICT":
                stack.append({})
            case "DICT":
                items = _popped_to_mark(stack)
                stack.append({})
                _set_items(path, stack[-1], items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _set_items(path, stack[-1], [key, value])
            case "SETITEMS":
                items = _popped_to_mark(stack)
                _set_items(path, stack[-1], items)
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo.extend([None] * (argument + 1 - len(memo)))
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo.append(stack[-1])
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "STOP":
                break
            case _:  # a text or a number
                stack.append(argument)
    return stack.pop()


def _popped_to_mark(stack: list[Any]) -> list[Any]:
    """Takes what lies above the last mark, and the mark, from the stack; returns it from the bottom up."""
    items = []
    while (item := stack.pop()) is not _MARK:
        items.append(item)
    items.reverse()
    return items


def _set_items(path: Path, target: dict[str, Any], items: list[Any]) -> None:
    """Sets names, each followed by its value."""
    for name, value in zip(items[::2], items[1::2], strict=True):
        if type(name) is not str:
            raise _not_numbered(path, f"a name is of type {type(name).__name__} and no text")
        target[name] = value


def _operations(path: Path, data: bytes) -> Iterator[tuple[str, Any]]:
    """Yields a pickle's operations and their arguments; raises `DataFormatError` at one that no dictionary needs."""
    dicts = 0
    text: list[str] = ["", ""]  # the last two, which STACK_GLOBAL takes for a module and a name in it
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if opcode.name == "STACK_GLOBAL":
            argument = " ".join(text)
        if opcode.name not in _OPCODES:
            asked = (
                argument.replace(" ", ".") if opcode.name.endswith("GLOBAL") else f"pickle's operation {opcode.name}"
            )
            raise DataFormatError(
                path,
                f"asks for {repr(asked[:80])[1:-1]}, and was not read; expected {_DICTIONARY}, in Python's own "
                "dict, str and int" + (", not NumPy's numbers." if asked.startswith("numpy.") else "."),
                remedy="If you trust who made it, load it in Python yourself and write json.dump({name: int(id) for "
                f"name, id in names.items()}}, open({str(path.with_suffix('.json'))!r}, 'w')).",
            )
        # Room is made for as many entries as the largest place asked for.
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > count:
            raise DataFormatError(path, f"asks for place {argument:,} of a memo of {count:,}: damaged or malicious.")
        dicts += opcode.name in ("EMPTY_DICT", "DICT")
        if dicts > _MOST_DICTS:
            raise DataFormatError(path, f"holds more than {_MOST_DICTS} dicts; expected {_DICTIONARY}.")
        if isinstance(argument, str):
            text = [text[1], argument]
        yield opcode.name, argument
