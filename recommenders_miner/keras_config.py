"""What the config of a saved Keras object may ask for: classes that are known, and none that run the code of others."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recommenders_miner.errors import DataFormatError

_KERAS_HUB = {"keras_hub", "keras_nlp"}
_PACKAGES = {"recommenders_miner", *_KERAS_HUB}
_MODULES = {
    "keras",
    *("keras.activations", "keras.constraints", "keras.dtype_policies"),
    *("keras.initializers", "keras.layers", "keras.regularizers"),
}
# Layers that wrap a function, a file or a module from elsewhere.
_WRAPPERS = {"FlaxLayer", "JaxLayer", "Lambda", "TFSMLayer", "TorchModuleWrapper"}


@contextmanager
def known_classes_only(configs: Mapping[Path, Any]) -> Iterator[None]:
    """Goes through configs, as `keras.saving.deserialize_keras_object` takes them, before anything is made of them.

    In the block they may be made. Custom objects of a scope around it, which Keras would prefer, are out of sight.
    What is registered for the whole process is not, since other threads may need it; so a config may not hold the name
    of any of that, wherever it stands.

    Args:
        configs: by the file that it is from, what the JSON there holds.

    Raises:
        DataFormatError: one names a class or function that is neither this package's, nor Keras' or KerasHub's, or one
            that would run code from elsewhere.
    """
    import keras  # takes seconds, and who reads configs has it already

    for path, config in configs.items():
        _require_known_classes(path, config)
    with keras.saving.custom_object_scope({}):
        yield


def _require_known_classes(path: Path, config: Any) -> None:
    import keras

    parts = list(_parts(config))
    if any(isinstance(part, str) and _package(part) in _KERAS_HUB for part in parts):
        import keras_hub  # noqa: F401  # registers its classes, and nothing else may have imported it yet
    registered = dict(keras.saving.get_custom_objects())
    own = {name for name, thing in registered.items() if _package(name) in _PACKAGES and isinstance(thing, type)}
    for part in parts:
        if isinstance(part, dict) and "class_name" in part and not _is_known(part, own):
            named = " ".join(str(part.get(key))[:80] for key in ("module", "class_name", "registered_name"))
        elif isinstance(part, str) and part in registered and part not in own:
            # Keras takes a text for a registered object in many places, as an initializer's or an activation's.
            named = part[:80]
        else:
            continue
        raise DataFormatError(
            path,
            f"asks for {named!r}, which a saved model of this package does not need; it was not loaded.",
            remedy="Do not use models from a source that you do not trust.",
        )


def _parts(config: Any) -> Iterator[Any]:
    """Yields all that a config consists of: itself, the values of dicts and lists, and theirs."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        yield value
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()


def _package(name: str) -> str:
    """The package of a registered name, `package>Class`; empty where there is none."""
    package, separator, _ = name.partition(">")
    return package if separator else ""


def _is_known(entry: dict[str, Any], own: Container[str]) -> bool:
    """Whether what an entry names is Keras' or among `own`, the registered classes of this package and KerasHub."""
    name, module, registered = (entry.get(key) for key in ("class_name", "module", "registered_name"))
    is_function = name == "function"
    if is_function:
        name = entry.get("config")
    if not isinstance(name, str) or name in _WRAPPERS or name.startswith("__") or "." in name:
        return False
    # Keras looks for classes by their registered name, for functions by their own, and in modules if these are unknown.
    looked_up = [key for key in (name, registered) if isinstance(key, str) and _package(key)]
    if looked_up:
        return not is_function and all(key in own for key in looked_up)
    return registered in (None, name) and module in _MODULES
