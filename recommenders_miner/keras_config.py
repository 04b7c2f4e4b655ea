"""What the config of a saved Keras object may ask for: classes that are known, and none that run the code of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recommenders_miner.errors import DataFormatError

_PACKAGES = {"recommenders_miner", "keras_hub", "keras_nlp"}
_MODULES = {
    "keras",
    *("keras.activations", "keras.constraints", "keras.dtype_policies"),
    *("keras.initializers", "keras.layers", "keras.regularizers"),
}
# Layers that wrap a function, a file or a module from elsewhere.
_WRAPPERS = {"FlaxLayer", "JaxLayer", "Lambda", "TFSMLayer", "TorchModuleWrapper"}


def require_known_classes(path: Path, config: Any) -> None:
    """Goes through a config, as `keras.saving.deserialize_keras_object` takes it, before anything is made of it.

    Args:
        path: where the config is from.
        config: the config, as JSON holds it.

    Raises:
        DataFormatError: it names a class or function that is neither this package's, nor Keras' or KerasHub's, or one
            that would run code from elsewhere.
    """
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
            if "class_name" in value and not _is_known(value):
                named = " ".join(str(value.get(key))[:80] for key in ("module", "class_name", "registered_name"))
                raise DataFormatError(
                    path,
                    f"asks for {named!r}, which a saved model of this package does not need; it was not loaded.",
                    remedy="Do not use models from a source that you do not trust.",
                )


def _is_known(value: dict[str, Any]) -> bool:
    """Whether what an entry names is this package's, Keras' or KerasHub's."""
    import keras  # takes seconds, and who reads configs has it already

    name, module, registered = (value.get(key) for key in ("class_name", "module", "registered_name"))
    if name == "function":
        name = value.get("config")
    if not isinstance(name, str) or name in _WRAPPERS or name.startswith("__"):
        return False
    # Keras looks for classes by their registered name, for functions by their own, and in modules if these are unknown.
    looked_up = [key for key in (name, registered) if isinstance(key, str) and ">" in key]
    if looked_up:
        packages = {key.partition(">")[0] for key in looked_up}
        return packages <= _PACKAGES and keras.saving.get_custom_objects().keys() >= set(looked_up)
    if registered not in (None, name, value["class_name"]):
        return False
    return module in _MODULES
