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
from keras.src.backend.common import global_state  # Keras has no public name for what `_forget_unbuilt` needs

from recommenders_miner.errors import DataFormatError
from recommenders_miner.keras_config import known_classes_only

_CONFIG = "config.json"
_MEMBERS = {_CONFIG, "metadata.json", "model.weights.h5"}
_REMEDY = "Take the model from another source, or save it again."


def read_network(path: Path) -> keras.Model:
    """Reads a network in Keras' format.

    Raises:
        DataFormatError: the file is missing or damaged, or asks for more than layers and their numbers.
    """
    try:
        with known_classes_only({path: _plain_config(path)}):
            return keras.saving.load_model(path, compile=False, safe_mode=True)
    except DataFormatError:
        raise
    except Exception as error:  # Keras lets through whatever building layers from a damaged config leads it into
        _forget_unbuilt()
        raise DataFormatError(path, f"not a readable network ({error}).", remedy=_REMEDY) from error


def _forget_unbuilt() -> None:
    """Drops the weights that a network could not be built with, which Keras would try again with every later model."""
    global_state.set_global_attribute("uninitialized_variables", [])


def compressed_member(archive: zipfile.ZipFile) -> str | None:
    """Names a member that would take more room than the archive gives it; None where all are stored as they are."""
    for member in archive.infolist():
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            return member.filename
    return None


def _plain_config(path: Path) -> Any:
    """Returns the config of a network whose archive holds what Keras writes, and nothing else."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if {member.filename for member in members} != _MEMBERS or len(members) != len(_MEMBERS):
            names = ", ".join(member.filename for member in members[:10])
            raise DataFormatError(path, f"expected {', '.join(sorted(_MEMBERS))}, got {names[:200]!r}.", remedy=_REMEDY)
        compressed = compressed_member(archive)
        if compressed is not None:
            raise DataFormatError(path, f"{compressed} is compressed; Keras does not do so.", remedy=_REMEDY)
        return json.loads(archive.read(_CONFIG))
