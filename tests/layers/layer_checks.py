"""What every layer of the package has to pass, on any Keras backend.

`check_layer` is in the spirit of KerasHub's `run_layer_test`: one call checks configuration, building,
values, gradients, dynamic axes, compilation, dtype policies and saving. Tests of a layer's own behaviour use
the helpers above it.
"""

import json
from collections.abc import Callable, Mapping

import keras
import numpy as np
import pytest

BACKEND = keras.backend.backend()
if BACKEND == "jax":
    import jax

Arrays = Mapping[str, np.ndarray]


def to_numpy(tensor) -> np.ndarray:
    """A float64 or bool copy of a tensor of any backend and dtype."""
    if keras.backend.standardize_dtype(tensor.dtype) == "bool":
        return np.array(keras.ops.convert_to_numpy(tensor))
    return np.array(keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")), dtype="float64")


def as_tensors(arrays: Arrays) -> dict:
    """float32 tensors of float arrays, and others as they are."""
    return {
        name: keras.ops.convert_to_tensor(array.astype("float32") if array.dtype.kind == "f" else array)
        for name, array in arrays.items()
    }


def weights_of(layer: keras.Layer) -> dict[str, np.ndarray]:
    return {weight.name: to_numpy(weight) for weight in layer.weights}


def compiled(function: Callable) -> Callable:
    """The function under the backend's XLA compiler."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True)
    if BACKEND == "jax":
        return jax.jit(function)
    return pytest.skip(f"no compiler is tested on {BACKEND}")


def quick(function: Callable) -> Callable:
    """The function as it runs soonest on shapes that come but once: on JAX compiled whole, not by parts."""
    return compiled(function) if BACKEND == "jax" else function


def call_once(function: Callable, inputs: Arrays) -> np.ndarray:
    """The output for arrays by name, in shapes that come but once."""
    return to_numpy(quick(function)(**as_tensors(inputs)))


def gradients(function: Callable, layer: keras.Layer, inputs: Arrays) -> dict[str, np.ndarray]:
    """Gradients of a scalar with respect to the float inputs and the layer's weights, by their names.

    They are compiled on JAX and eager on TensorFlow, the quicker way on each.

    Args:
        function: from the tensors of `inputs` by keyword to a scalar; it may use `layer`.
        layer: a built layer.
        inputs: arrays; the gradient is taken of those with a float dtype.
    """
    tensors = as_tensors(inputs)
    floats = [name for name, array in inputs.items() if array.dtype.kind == "f"]
    names = floats + [weight.name for weight in layer.trainable_weights]
    differentiate = {"tensorflow": _tensorflow_gradients, "jax": _jax_gradients}.get(BACKEND)
    if differentiate is None:
        pytest.skip(f"no gradients are tested on {BACKEND}")
    found = differentiate(function, layer, tensors, floats)
    return {name: to_numpy(gradient) for name, gradient in zip(names, found, strict=True)}


def _tensorflow_gradients(function, layer, tensors, floats):
    import tensorflow as tf

    differentiated = {name: tensors[name] for name in floats}
    with tf.GradientTape() as tape:
        tape.watch(differentiated)
        value = function(**(tensors | differentiated))
    sources = [*differentiated.values(), *(weight.value for weight in layer.trainable_weights)]
    return tape.gradient(value, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def _jax_gradients(function, layer, tensors, floats):
    def scalar(differentiated, weights):
        mapping = zip(layer.trainable_weights, weights, strict=True)
        with keras.StatelessScope(state_mapping=mapping):
            return function(**(tensors | differentiated))

    of_inputs, of_weights = jax.jit(jax.grad(scalar, argnums=(0, 1)))(
        {name: tensors[name] for name in floats}, [weight.value for weight in layer.trainable_weights]
    )
    return [*(of_inputs[name] for name in floats), *of_weights]


def numerical_gradients(function: Callable, arrays: Arrays, step: float = 1e-5) -> dict[str, np.ndarray]:
    """Central differences of a float64 scalar function with respect to each entry of the float arrays."""
    found = {}
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            continue
        found[name] = np.zeros(array.shape)
        for entry in np.ndindex(array.shape):
            ends = []
            for shift in (step, -step):
                moved = array.copy()
                moved[entry] += shift
                ends.append(function(**(arrays | {name: moved})))
            found[name][entry] = (ends[0] - ends[1]) / (2 * step)
    return found


def check_layer(
    layer_class: type[keras.Layer],
    config: dict,
    inputs: Arrays,
    reference: Callable[..., np.ndarray],
    weights: Mapping[str, tuple[int, ...]],
    dynamic_shapes: Mapping[str, tuple[int | None, ...]],
    tmp_path,
    output_dtype: str | None = None,
) -> None:
    """Run every check that all layers share.

    Args:
        layer_class: the layer.
        config: the arguments to make it with.
        inputs: float64, integer or bool arrays by the names of `call`'s arguments.
        reference: from float64 inputs and weights, by name, to the expected output.
        weights: the expected weights, name to shape.
        dynamic_shapes: each input's shape without the batch axis and with None at every axis that may vary.
        tmp_path: a folder for the saved model.
        output_dtype: the output's dtype under every policy. None: the policy's compute dtype.
    """
    check_serialisation(layer_class(**config))
    layer = check_building(layer_class, config, inputs, weights, dynamic_shapes)
    check_values(layer, inputs, reference)
    check_gradients(layer, inputs, reference)
    check_policies(layer, inputs, output_dtype)
    check_saved_model(layer, inputs, dynamic_shapes, tmp_path)


def check_serialisation(layer: keras.Layer) -> None:
    """The configuration survives JSON, `from_config` and Keras' own serialisation."""
    config = json.loads(json.dumps(layer.get_config()))
    assert json.loads(json.dumps(type(layer).from_config(config).get_config())) == config
    serialised = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    assert serialised["registered_name"] == f"recommenders_miner>{type(layer).__name__}"
    revived = keras.saving.deserialize_keras_object(serialised)
    assert type(revived) is type(layer)
    assert json.loads(json.dumps(revived.get_config())) == config


def symbolic_inputs(inputs: Arrays, dynamic_shapes: Mapping) -> dict[str, keras.KerasTensor]:
    return {
        name: keras.Input(shape, dtype="float32" if inputs[name].dtype.kind == "f" else "bool", name=name)
        for name, shape in dynamic_shapes.items()
    }


def check_building(layer_class, config, inputs: Arrays, weights: Mapping, dynamic_shapes: Mapping) -> keras.Layer:
    """`build` from shapes creates all the weights that a call does; the built layer is returned."""
    from_shapes = layer_class(**config)
    from_shapes.build(*(array.shape for name, array in inputs.items() if name not in ("mask", "bias")))
    from_call = layer_class(**config)
    from_call(**symbolic_inputs(inputs, dynamic_shapes))
    for layer in (from_shapes, from_call):
        assert layer.built
        assert {weight.name: tuple(weight.shape) for weight in layer.weights} == dict(weights)
    generator = np.random.default_rng(7)
    from_shapes.set_weights([generator.normal(size=weight.shape) for weight in from_shapes.weights])
    return from_shapes


def check_values(layer: keras.Layer, inputs: Arrays, reference: Callable) -> None:
    """The output is the reference's, eagerly and compiled."""
    expected = reference(**inputs, **weights_of(layer))
    for function in (layer, compiled(lambda **tensors: layer(**tensors))):
        output = function(**as_tensors(inputs))
        assert tuple(output.shape) == expected.shape
        np.testing.assert_allclose(to_numpy(output), expected, rtol=1e-5, atol=1e-5)


def check_gradients(layer: keras.Layer, inputs: Arrays, reference: Callable) -> None:
    """The gradients of a random projection of the output are the central differences of the reference."""
    projection = np.random.default_rng(11).normal(size=np.shape(reference(**inputs, **weights_of(layer))))
    cotangent = keras.ops.convert_to_tensor(projection.astype("float32"))
    found = gradients(
        lambda **tensors: keras.ops.sum(keras.ops.cast(layer(**tensors), "float32") * cotangent),
        layer,
        inputs,
    )
    expected = numerical_gradients(
        lambda **arrays: float(np.sum(reference(**arrays) * projection)), dict(inputs) | weights_of(layer)
    )
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-4, err_msg=name)


def check_policies(layer: keras.Layer, inputs: Arrays, output_dtype: str | None) -> None:
    """Under half precision the output keeps its dtype's promise and stays near float32's."""
    expected = to_numpy(layer(**as_tensors(inputs)))
    scale = max(1.0, np.abs(expected).max())
    for name, tolerance in (("mixed_float16", 1e-2), ("mixed_bfloat16", 8e-2), ("bfloat16", 8e-2)):
        policy = keras.DTypePolicy(name)
        half = type(layer).from_config(layer.get_config() | {"dtype": policy})
        half.build_from_config(layer.get_build_config())
        half.set_weights(layer.get_weights())
        output = quick(half)(**as_tensors(inputs))
        assert keras.backend.standardize_dtype(output.dtype) == (output_dtype or policy.compute_dtype), name
        np.testing.assert_allclose(to_numpy(output), expected, rtol=0, atol=tolerance * scale, err_msg=name)


def check_saved_model(layer: keras.Layer, inputs: Arrays, dynamic_shapes: Mapping, tmp_path) -> None:
    """A functional model with free batch and length axes saves, loads and gives the same output."""
    tensors = as_tensors(inputs)
    symbolic = symbolic_inputs(inputs, dynamic_shapes)
    output = layer(**symbolic)
    expected = layer(**tensors)
    assert len(output.shape) == len(expected.shape)
    assert all(free in (None, size) for free, size in zip(output.shape, expected.shape, strict=True))
    assert output.dtype == keras.backend.standardize_dtype(expected.dtype)

    model = keras.Model(symbolic, output)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for version in (model, loaded):
        np.testing.assert_allclose(to_numpy(version(tensors)), to_numpy(expected), rtol=1e-6, atol=1e-6)
    twice = {name: np.concatenate([array, array]) for name, array in inputs.items()}
    doubled = to_numpy(quick(loaded)(as_tensors(twice)))
    np.testing.assert_allclose(doubled, np.concatenate([to_numpy(expected)] * 2), rtol=1e-5, atol=1e-5)
