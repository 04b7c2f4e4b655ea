"""What every layer of the package has to pass, on any Keras backend; `cases.py` is the table of the layers.

`check_layer` is in the spirit of KerasHub's `run_layer_test`: one call checks configuration, building, values,
gradients, dynamic axes, compilation, dtype policies and saving. Tests of a layer's own behaviour use the helpers above.
"""

import json
from collections.abc import Callable, Mapping

import keras
import numpy as np
import pytest

from recommenders_miner.layers import CompositeLayer

BACKEND = keras.backend.backend()
if BACKEND == "jax":
    import jax

Arrays = Mapping[str, np.ndarray]


def to_numpy(tensor) -> np.ndarray:
    """A float64 or bool copy of a tensor of any backend and dtype."""
    if keras.backend.standardize_dtype(tensor.dtype) == "bool":
        return np.array(keras.ops.convert_to_numpy(tensor))
    return np.array(keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")), dtype="float64")


def tensor(values):
    """A float32 tensor."""
    return keras.ops.convert_to_tensor(np.asarray(values, "float32"))


def as_tensors(arrays: Arrays) -> dict:
    """float32 tensors of float arrays, and others as they are."""
    return {
        name: tensor(array) if array.dtype.kind == "f" else keras.ops.convert_to_tensor(array)
        for name, array in arrays.items()
    }


def weight_names(weights: list) -> list[str]:
    """The weights' own names, or where two are alike, with the name of the layer that holds each before."""
    names = [weight.name for weight in weights]
    return names if len(set(names)) == len(names) else ["_".join(weight.path.split("/")[-2:]) for weight in weights]


def weights_of(layer: keras.Layer) -> dict[str, np.ndarray]:
    return {name: to_numpy(weight) for name, weight in zip(weight_names(layer.weights), layer.weights, strict=True)}


def randomise(layer: keras.Layer, seed: int = 7) -> keras.Layer:
    """The built layer with random weights, so large that an attention is far from uniform."""
    generator = np.random.default_rng(seed)
    layer.set_weights([generator.normal(size=weight.shape) for weight in layer.weights])
    return layer


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
    """Gradients of a scalar with respect to the float inputs and the weights of a built layer, by their names.

    They are compiled on JAX and eager on TensorFlow, the quicker way on each.
    """
    tensors = as_tensors(inputs)
    floats = [name for name, array in inputs.items() if array.dtype.kind == "f"]
    differentiate = {"tensorflow": _tensorflow_gradients, "jax": _jax_gradients}.get(BACKEND)
    if differentiate is None:
        pytest.skip(f"no gradients are tested on {BACKEND}")
    found = differentiate(function, layer, tensors, floats)
    names = floats + weight_names(layer.trainable_weights)
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
    found = {name: np.zeros(array.shape) for name, array in arrays.items() if array.dtype.kind == "f"}
    for name, gradient in found.items():
        for entry in np.ndindex(gradient.shape):
            ends = []
            for shift in (step, -step):
                moved = arrays[name].copy()
                moved[entry] += shift
                ends.append(function(**(arrays | {name: moved})))
            gradient[entry] = (ends[0] - ends[1]) / (2 * step)
    return found


def check_gradients(function: Callable, layer: keras.Layer, inputs: Arrays, reference: Callable) -> dict:
    """The gradients of a scalar are the central differences of its reference, of inputs and weights; both by name."""
    found = gradients(function, layer, inputs)
    expected = numerical_gradients(reference, dict(inputs) | weights_of(layer))
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-4, err_msg=name)
    return found


def check_layer(case, tmp_path) -> None:
    """Run every check that all layers share, on an entry of `cases.py`."""
    check_serialisation(case.make())
    layer = check_building(case)
    check_values(case, layer)
    check_projected_gradients(case, layer)
    check_policies(case, layer)
    check_saved_model(case, layer, tmp_path)


def check_serialisation(layer: keras.Layer) -> None:
    """The configuration survives JSON and Keras' own serialisation, by the name that the class is registered by."""
    config, serialised = json.loads(json.dumps([layer.get_config(), keras.saving.serialize_keras_object(layer)]))
    assert serialised["registered_name"] == f"recommenders_miner>{type(layer).__name__}"
    for revived in (type(layer).from_config(config), keras.saving.deserialize_keras_object(serialised)):
        assert type(revived) is type(layer)
        assert json.loads(json.dumps(revived.get_config())) == config


def symbolic_inputs(case) -> dict[str, keras.KerasTensor]:
    """Inputs of a functional model, in which every axis is free but those that the weights are made for."""
    dtypes = {"f": "float32", "b": "bool", "i": "int32"}
    shapes = {n: [s if s in case.fixed else None for s in array.shape[1:]] for n, array in case.inputs.items()}
    return {n: keras.Input(shapes[n], dtype=dtypes[a.dtype.kind], name=n) for n, a in case.inputs.items()}


def check_building(case) -> keras.Layer:
    """`build` from shapes creates all the weights that a call does; the layer is returned with random weights."""
    from_call = case.make()
    from_call(**symbolic_inputs(case))
    layers = [from_call]
    if case.weights and not isinstance(from_call, CompositeLayer):
        layers.append(case.make())
        layers[-1].build(*(array.shape for name, array in case.inputs.items() if name not in ("mask", "bias")))
    for layer in layers:
        assert layer.built
        assert {name: array.shape for name, array in weights_of(layer).items()} == dict(case.weights)
    return randomise(layers[-1])


def check_values(case, layer: keras.Layer) -> None:
    """The output is the reference's, eagerly and compiled."""
    expected = case.expected(layer)
    for function in (layer, compiled(lambda **tensors: layer(**tensors))):
        for output, array in zip(leaves(function(**as_tensors(case.inputs))), expected, strict=True):
            assert tuple(output.shape) == array.shape
            np.testing.assert_allclose(to_numpy(output), array, rtol=1e-5, atol=1e-5)


def leaves(outputs) -> list:
    """What a layer returns, one tensor or a dict of them, as a list."""
    return keras.tree.flatten(outputs)


def check_projected_gradients(case, layer: keras.Layer) -> None:
    """The gradients of a random projection of the output are the central differences of the reference."""
    generator = np.random.default_rng(11)
    projections = [generator.normal(size=array.shape) for array in case.expected(layer)]
    cotangents = [keras.ops.convert_to_tensor(projection.astype("float32")) for projection in projections]
    check_gradients(
        lambda **tensors: sum(
            keras.ops.sum(keras.ops.cast(output, "float32") * cotangent)
            for output, cotangent in zip(leaves(layer(**tensors)), cotangents, strict=True)
        ),
        layer,
        case.inputs,
        lambda **arrays: float(sum(map(np.vdot, leaves(case.reference(**arrays)), projections))),
    )


def check_policies(case, layer: keras.Layer) -> None:
    """Under half precision the output keeps its dtype's promise and stays near float32's."""
    expected = [to_numpy(output) for output in leaves(layer(**as_tensors(case.inputs)))]
    scale = max(1.0, *(np.abs(array).max() for array in expected))
    for name, tolerance in (("mixed_float16", 1e-2), ("mixed_bfloat16", 8e-2), ("bfloat16", 8e-2)):
        policy = keras.DTypePolicy(name)
        half = type(layer).from_config(layer.get_config() | {"dtype": policy})
        half(**symbolic_inputs(case))
        half.set_weights(layer.get_weights())
        for output, array in zip(leaves(quick(half)(**as_tensors(case.inputs))), expected, strict=True):
            assert keras.backend.standardize_dtype(output.dtype) == (case.output_dtype or policy.compute_dtype), name
            np.testing.assert_allclose(to_numpy(output), array, rtol=0, atol=tolerance * scale, err_msg=name)


def check_saved_model(case, layer: keras.Layer, tmp_path) -> None:
    """A functional model with free batch and length axes saves, loads and gives the same output."""
    tensors, symbolic = as_tensors(case.inputs), symbolic_inputs(case)
    outputs, expected = layer(**symbolic), leaves(layer(**tensors))
    for output, array in zip(leaves(outputs), expected, strict=True):
        assert len(output.shape) == len(array.shape)
        assert all(free in (None, size) for free, size in zip(output.shape, array.shape, strict=True))
        assert output.dtype == keras.backend.standardize_dtype(array.dtype)

    model = keras.Model(symbolic, outputs)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    twice = as_tensors({name: np.concatenate([array, array]) for name, array in case.inputs.items()})
    for found, array in zip(leaves(model(tensors)), expected, strict=True):
        np.testing.assert_allclose(to_numpy(found), to_numpy(array), rtol=1e-6, atol=1e-6)
    for found, array in zip(leaves(quick(loaded)(twice)), expected, strict=True):
        np.testing.assert_allclose(to_numpy(found), np.concatenate([to_numpy(array)] * 2), rtol=1e-5, atol=1e-5)
