"""A trained model as files that answer without TensorFlow: its parts, in ONNX or as a SavedModel, and its vocabularies.

A model is cut where evaluation cuts it (`LogScorer`): articles, users and candidates apart. `runtime.Recommender` puts
the ONNX parts together again.
"""

from __future__ import annotations

import importlib.util
import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import keras
import numpy as np

from recommenders_miner import __version__
from recommenders_miner.data.features import FEATURES, NewsFeatures
from recommenders_miner.data.news import NewsTable
from recommenders_miner.errors import RecommendersMinerError
from recommenders_miner.layers import weights_digest
from recommenders_miner.models import load_model
from recommenders_miner.models.miner import MINERClickPredictor
from recommenders_miner.models.network import DotProductPredictor, NewsRecommender
from recommenders_miner.serving.files import COUNTS, FORMAT, MANIFEST, VOCABULARIES
from recommenders_miner.serving.parts import Part, interest_names, named, network_parts
from recommenders_miner.serving.samples import sample_articles, sample_requests
from recommenders_miner.storage import new_folder

TOLERANCE = 1e-4
"""The largest difference from the network that an export may have, by the largest of the values compared."""
_OPSET = 18
_HPARAMS = ("title_size", "body_size", "text_size", "entity_size", "word_segmenter", "max_terms", "horizon")
"""What features of new articles, and the context, are made with."""


def export_model(
    run: str | Path | Any, out: str | Path, format: Literal["onnx", "saved_model"] = "onnx", overwrite: bool = False
) -> dict[str, Any]:
    """Export a model, compare what the export says with the network, and return the manifest.

    A network that computes in half precision is exported in float32.

    Args:
        run: the folder of a saved model, or a model.
        out: the folder to write.
        format: `onnx`, one file a part, for `runtime.Recommender` and all else that runs ONNX; or `saved_model`, one
            signature a part, for TensorFlow Serving and the like.
        overwrite: replace a folder that holds something.

    Raises:
        RecommendersMinerError: the backend is not TensorFlow, a package is missing, or what the export says differs by
            more than `TOLERANCE`; nothing is written then.
        FolderExistsError: `out` holds something.
    """
    if keras.backend.backend() != "tensorflow":
        raise RecommendersMinerError(
            "Models are exported by TensorFlow, which loads what JAX has trained, too: set KERAS_BACKEND=tensorflow."
        )
    needed = ("tf2onnx", "onnxruntime") if format == "onnx" else ()
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        raise RecommendersMinerError(f"ONNX needs {' and '.join(missing)}: pip install 'recommenders-miner[export]'.")
    with new_folder(Path(out), overwrite) as folder:
        model = load_model(run) if isinstance(run, str | Path) else run
        model.require_built()
        network, hparams = _in_float32(model.network), _served_hparams(model.hparams)
        sizes = [layer.config["size"] for layer in network.news_encoder._flatten_layers() if _reads_vectors(layer)]
        news = sample_articles(model.vocabularies, *sizes[:1])
        parts = network_parts(network, NewsFeatures(news, model.vocabularies, hparams))
        (folder / VOCABULARIES).mkdir()
        model.vocabularies.save(folder / VOCABULARIES)
        if model.counts is not None and network.context:
            np.savez_compressed(folder / COUNTS, **model.counts.arrays())
        manifest = _description(model, network, hparams, parts)
        manifest["parts"] = (_write_onnx if format == "onnx" else _write_saved_model)(network, parts, folder)
        _write_manifest(folder, manifest)
        if format == "onnx":
            manifest["parity"] = _compare(model, network, news, folder)
            _write_manifest(folder, manifest)
        (folder / "README.md").write_text(_readme(manifest), encoding="utf-8")
    return manifest


def _write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _in_float32(network: NewsRecommender) -> NewsRecommender:
    """Return the network, or of one in half precision, which CPUs are slow at, a copy in float32."""
    config = json.dumps(network.get_config())
    plain = config.replace('"mixed_bfloat16"', '"float32"').replace('"mixed_float16"', '"float32"')
    if plain == config:
        return network
    copy = NewsRecommender.from_config(json.loads(plain))
    copy.build()
    copy.set_weights(network.get_weights())
    return copy


def _served_hparams(hparams: Any) -> SimpleNamespace:
    """Return the hyperparameters that the runtime has; an article brings its ready-made vector in a column `vector`."""
    values = {name: getattr(hparams, name) for name in _HPARAMS if hasattr(hparams, name)}
    if getattr(hparams, "article_vectors", None):
        values["article_vectors"] = "vector"
    return SimpleNamespace(**values, cache=False)


def _reads_vectors(layer: keras.layers.Layer) -> bool:
    return getattr(layer, "features", ()) == ("article_vector",)


def _description(
    model: Any, network: NewsRecommender, hparams: SimpleNamespace, parts: dict[str, Part]
) -> dict[str, Any]:
    predictor, encoder, digest = network.click_predictor, network.news_encoder, weights_digest(model.network.weights)
    of_miner, search = isinstance(predictor.searched(), MINERClickPredictor), None
    if "search" in parts:
        search = {
            "aggregation": predictor.searched().aggregation.mode if of_miner else "max",
            "by_category": bool(network.user_encoder.candidate_aware),
            "exact": isinstance(predictor, MINERClickPredictor | DotProductPredictor),
        }
    return {
        "format": FORMAT,
        "package": __version__,
        "model": model.hparams.model_type,
        "name": f"{model.hparams.model_type}-{digest[:8]}",
        "hparams": vars(hparams),
        "his_size": model.hparams.his_size,
        "user_aware": model.user_aware,
        "context": list(network.context),
        "features": {name: "table" if FEATURES[name].make else "plm" for name in parts["news"].example["features"]},
        "related": {"rows": encoder.related, "message": encoder.message, "hops": encoder.hops},
        "interests": interest_names(network, parts["explain"]) if "explain" in parts else ["user"],
        "search": search,
    }


# === The parts, written ===


def _traced(part: Part) -> tuple[Any, list[str], list[str]]:
    """Return a part as a TensorFlow function of its arrays in a row, their names, and the names of its outputs."""
    import tensorflow as tf

    example, outputs = named(part.example), []
    specs = [
        tf.TensorSpec(
            [None if axis else size for axis, size in zip(part.axes[name], array.shape, strict=True)], array.dtype
        )
        for name, array in example.items()
    ]

    def flat(*arrays: Any) -> list[Any]:
        found = named(part.step(**keras.tree.pack_sequence_as(part.example, list(arrays))))
        outputs[:] = list(found)
        return [tf.identity(value) for value in found.values()]

    function = tf.function(flat, input_signature=specs, autograph=False)
    function.get_concrete_function()
    return function, list(example), outputs


def _write_onnx(network: NewsRecommender, parts: dict[str, Part], folder: Path) -> dict[str, Any]:
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    # It writes the swap of an axis with one of size 1 as a Reshape whose zeros copy sizes of what it reads, and lets it
    # read something else.
    from tf2onnx.optimizer import _optimizers as optimizers

    written, handlers = {}, {"Erfc": (_write_erfc, [])}
    faulty = optimizers.pop("reshape_optimizer", None)
    try:
        for name, part in parts.items():
            function, inputs, outputs = _traced(part)
            signature = function.input_signature
            options = {"opset": _OPSET, "custom_op_handlers": handlers}
            proto, _ = tf2onnx.convert.from_function(function, signature, **options)
            taken = _rename(proto.graph, part, inputs, outputs)
            (folder / f"{name}.onnx").write_bytes(proto.SerializeToString())
            written[name] = {"inputs": taken, "outputs": outputs}
    finally:
        if faulty:
            optimizers["reshape_optimizer"] = faulty
    return written


def _write_erfc(graph: Any, node: Any, name: str, *_: Any) -> None:
    """Write erfc x, of which TensorFlow makes the exact GELU and which tf2onnx does not know, as 1 - erf x."""
    output = node.output[0]
    of = {"shapes": [graph.get_shape(output)], "dtypes": [graph.get_dtype(output)]}
    source = node.input[0]
    graph.remove_node(node.name)
    one = graph.make_const(f"{name}/one", np.array(1.0, "float32")).output[0]
    graph.make_node("Sub", [one, graph.make_node("Erf", [source], **of).output[0]], outputs=[output], **of)


def _rename(graph: Any, part: Part, inputs: list[str], outputs: list[str]) -> dict[str, Any]:
    """Give a graph's inputs, their axes and its outputs our names; return dtype and axes of each input."""
    new = {f"args_{place}": name for place, name in enumerate(inputs)} | {"arrays": inputs[0]}
    new |= {f"arrays_{place}": name for place, name in enumerate(inputs)}
    new |= {value.name: name for value, name in zip(graph.output, outputs, strict=True)}
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new.get(name, name) for name in names]
    example, described = named(part.example), {}
    for value in graph.output:
        value.name = new[value.name]
    for value in graph.input:
        value.name = new[value.name]
        axes, array = part.axes[value.name], example[value.name]
        shape = [axis or size for axis, size in zip(axes, array.shape, strict=True)]
        for dimension, size in zip(value.type.tensor_type.shape.dim, shape, strict=True):
            setattr(dimension, "dim_param" if isinstance(size, str) else "dim_value", size)
        described[value.name] = {"dtype": str(array.dtype), "shape": shape}
    return described


def _write_saved_model(network: NewsRecommender, parts: dict[str, Part], folder: Path) -> dict[str, Any]:
    import tensorflow as tf

    module, signatures, written, given = tf.Module(), {}, {}, {}
    module.network = network  # so that its weights are saved
    for name, part in parts.items():
        function, inputs, outputs = _traced(part)
        keys = [key.replace(".", "_") for key in inputs]
        specs = {
            key: tf.TensorSpec(of.shape, of.dtype, key) for key, of in zip(keys, function.input_signature, strict=True)
        }
        signatures[name] = _by_name(function, keys, outputs).get_concrete_function(**specs)
        given[name] = dict(zip(keys, map(tf.convert_to_tensor, named(part.example).values()), strict=True))
        described = {key: {"dtype": of.dtype.name, "shape": list(of.shape)} for key, of in specs.items()}
        written[name] = {"inputs": described, "outputs": [key.replace(".", "_") for key in outputs]}
    path = str(folder / "saved_model")
    tf.saved_model.save(module, path, signatures=signatures)
    loaded = tf.saved_model.load(path)
    for name, part in parts.items():
        found = loaded.signatures[name](**given[name])
        for key, want in named(part.step(**part.example)).items():
            _require_equal(f"{name}'s {key}", found[key.replace(".", "_")].numpy(), np.asarray(want))
    return written


def _by_name(function: Any, keys: list[str], outputs: list[str]) -> Any:
    """Return a TensorFlow function that takes and returns arrays by name, as a signature does."""
    import tensorflow as tf

    def call(**arrays: Any) -> dict[str, Any]:
        found = function(*(arrays[key] for key in keys))
        return {name.replace(".", "_"): value for name, value in zip(outputs, found, strict=True)}

    return tf.function(call, autograph=False)


# === Whether it is right ===


def _compare(model: Any, network: NewsRecommender, news: NewsTable, folder: Path) -> dict[str, Any]:
    """Score requests of sampled articles by the export and by the network; see `_require_equal`."""
    from recommenders_miner.serving.runtime import Recommender

    recommender = Recommender.load(folder)
    recommender.add_table(news)
    hparams = model.hparams
    if getattr(hparams, "article_vectors", None):
        hparams = hparams.model_copy(update={"article_vectors": "vector"})
    asked = type(model)(hparams, seed=model.seed)
    asked.adopt(network, model.vocabularies)
    asked.go_on_from(model.counts)
    asked.set_news(news)
    requests, largest = sample_requests(news, model.vocabularies, model.hparams.his_size), 0.0
    for history, candidates, user in requests:
        now = int(asked.log_of_now([history], candidates, user).time[0])
        found = recommender.score(history, candidates, user=user, now=now)
        largest = max(largest, _require_equal("scores", found, asked.score(history, candidates, user)))
    return {"requests": len(requests), "largest_difference": largest, "tolerance": TOLERANCE}


def _require_equal(what: str, found: np.ndarray, want: np.ndarray) -> float:
    """Return the largest difference of two arrays by their largest value; refuse more than `TOLERANCE`, or NaN."""
    found, want = np.asarray(found, "float64"), np.asarray(want, "float64")
    difference = float(np.abs(found - want).max(initial=0)) / max(float(np.abs(want).max(initial=0)), 1e-6)
    if not difference <= TOLERANCE:
        raise RecommendersMinerError(
            f"The export was not kept: its {what} differ from the network's by {difference:.1e} of the largest, more "
            f"than {TOLERANCE:.0e}. Please report the model and your versions of tensorflow, tf2onnx and onnxruntime."
        )
    return difference


def _readme(manifest: dict[str, Any]) -> str:
    lines = [f"# {manifest['name']}", "", f"Exported by recommenders-miner {manifest['package']}.", ""]
    if parity := manifest.get("parity"):
        lines += [
            "```python",
            "from recommenders_miner.serving.runtime import Recommender",
            "",
            'recommender = Recommender.load("this folder")',
            'recommender.add_articles([{"id": "N1", "title": "…", "category": "…"}])',
            'recommender.recommend(["N1"], k=10)',
            "```",
            "",
            f"or `recommenders-miner serve FOLDER --news news.tsv`. In {parity['requests']} requests scores were the "
            f"network's to {parity['largest_difference']:.0e} of the largest.",
            "",
        ]
    lines += ["The parts, what each takes and of which shape (axes with a name may be of any length), and returns:", ""]
    for name, part in manifest["parts"].items():
        lines += [f"- `{name}` → {', '.join(f'`{key}`' for key in part['outputs'])}"]
        lines += [f"  - `{key}`: {of['dtype']} {of['shape']}" for key, of in part["inputs"].items()]
    return "\n".join([*lines, ""])
