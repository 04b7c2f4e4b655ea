"""Reading a saved network without running anything that its file may hold.

Keras refuses marshalled code by itself (`safe_mode`). Beyond that, a config may only name classes that are this
package's, Keras' or KerasHub's, and none of Keras' whose purpose is to run what others wrote; and the archive may only
hold the three files that Keras writes, not compressed, so that it takes no more room than its size.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import keras

from recommenders_miner.errors import DataFormatError
from recommenders_miner.keras_config import require_known_classes

_CONFIG = "config.json"
_MEMBERS = {_CONFIG, "metadata.json", "model.weights.h5"}
_REMEDY = "Take the model from another source, or save it again."


def read_network(path: Path) -> keras.Model:
    """Reads a network in Keras' format.

    Raises:
        DataFormatError: the file is missing or damaged, or asks for more than layers and their numbers.
    """
    try:
        _require_plain(path)
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except DataFormatError:
        raise
    except Exception as error:  # Keras lets through whatever building layers from a damaged config leads it into
        raise DataFormatError(path, f"not a readable network ({error}).", remedy=_REMEDY) from error


def _require_plain(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if {member.filename for member in members} != _MEMBERS or len(members) != len(_MEMBERS):
            names = ", ".join(member.filename for member in members[:10])
            raise DataFormatError(path, f"expected {', '.join(sorted(_MEMBERS))}, got {names[:200]!r}.", remedy=_REMEDY)
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
                raise DataFormatError(path, f"{member.filename} is compressed; Keras does not do so.", remedy=_REMEDY)
        config: Any = json.loads(archive.read(_CONFIG))
    require_known_classes(path, config)
