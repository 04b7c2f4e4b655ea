"""NumPy files as memory maps, whoever wrote them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

_MAGIC = b"\x93NUMPY"
_LENGTH_BYTES = {1: 2, 2: 4, 3: 4}
"""How many bytes give the length of the header, by the format's major version."""


def map_array(path: str | Path) -> np.ndarray:
    """Maps the array of a .npy file, read-only; what a .npz file holds is given as numpy does.

    numpy makes room for a header as long as its file says, 4 GiB at most, before it reads it. Here it must fit in.

    Raises:
        ValueError: the header is longer than the file. numpy raises this and other errors for other damage.
    """
    path = Path(path)
    with open(path, "rb") as file:
        start = file.read(len(_MAGIC) + 2)
        count = _LENGTH_BYTES.get(start[len(_MAGIC)], 0) if start.startswith(_MAGIC) and len(start) == 8 else 0
        if int.from_bytes(file.read(count), "little") > path.stat().st_size:
            raise ValueError("its header is longer than the file")
    return np.load(path, mmap_mode="r", allow_pickle=False)
