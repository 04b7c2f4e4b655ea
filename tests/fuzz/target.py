"""What is fuzzed, and what counts as a fault.

`check` holds a reader to its promise: whatever the file, it reads it, or raises one of the package's own errors, in
time and with memory in proportion to the file's size. Hypothesis and the coverage-guided fuzzer share the targets.
"""

from __future__ import annotations

import tempfile
import unittest.mock
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from recommenders_miner.data import tsv
from recommenders_miner.errors import RecommendersMinerError
from tests.fuzz.limits import FLOOR_BYTES, SECONDS, TIMES_THE_FILE, limited

_IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # where bringing files to disk costs nothing


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        file_name: what its file is called.
        read: reads a file that stands alone in a folder, and looks at what it gave.
        seeds: files that it reads, for others to be made of.
        names_its_file: whether each of its errors has the path.
        times: how many times its file's size it may take of memory, besides `floor`.
        floor: bytes that it may take whatever the file.
    """

    file_name: str
    read: Callable[[Path], None]
    seeds: tuple[bytes, ...]
    names_its_file: bool = True
    times: int = TIMES_THE_FILE
    floor: int = FLOOR_BYTES


def check(target: Target, content: bytes, block_bytes: int = 2**16, seconds: float | None = SECONDS) -> None:
    """Reads a file and raises whatever a reader must not: any error but the package's own, a hang, too much memory."""
    with tempfile.TemporaryDirectory(dir=_IN_MEMORY) as folder:
        path = Path(folder) / target.file_name
        path.write_bytes(content)
        # Blocks of 16 MiB, the room for which is made before they are read, would hide what these small files take.
        blocks = unittest.mock.patch.object(tsv, "BLOCK_BYTES", block_bytes)
        with blocks, limited(target.times * len(content) + target.floor, seconds), warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # numpy's, of numbers that went out of range unseen
            try:
                target.read(path)
            except RecommendersMinerError as error:
                if target.names_its_file and str(path) not in str(error):
                    raise AssertionError(f"The error does not name the file: {error}") from error
