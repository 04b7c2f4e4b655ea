"""Which folders of a data set hold its splits."""

from __future__ import annotations

from pathlib import Path

from recommenders_miner.errors import DataFormatError

WHOLE, SPLIT_NAMES = "all", ("train", "dev", "test")
"""The name of what has not been split yet, and those of the splits."""

NEWS_FILE, BEHAVIORS_FILE = "news.tsv", "behaviors.tsv"


def split_folders(folder: str | Path) -> dict[str, Path]:
    """Finds the splits of a data set, whole or not.

    Args:
        folder: holds news.tsv and behaviors.tsv itself; or train/, dev/ and test/, or some of these; or all/, as what
            `recommenders-miner convert` writes.

    Returns:
        The folder of each split by its name, train before dev before test; where the folder is the only split, it
        stands under its own name.

    Raises:
        DataFormatError: there is neither.
    """
    folder = Path(folder)
    if any((folder / file).exists() for file in (NEWS_FILE, BEHAVIORS_FILE)):
        return {folder.resolve().name: folder}
    names = [name for name in SPLIT_NAMES if (folder / name).is_dir()] or [WHOLE]
    found = {name: folder / name for name in names if (folder / name).is_dir()}
    if not found:
        raise DataFormatError(
            folder,
            f"holds neither {NEWS_FILE} and {BEHAVIORS_FILE} nor a folder {', '.join(SPLIT_NAMES)} or {WHOLE}.",
            remedy="To make one for a try: recommenders-miner demo-data OUT",
        )
    return found
