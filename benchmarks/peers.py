"""One training step of Keras, TensorFlow and JAX: ``python peers.py MODEL SIDE STEPS`` prints the milliseconds.

It runs in an environment of its own (``make peers``), because these libraries are not dependencies of the project. The
networks, optimisers and batch sizes are those of speed.py; images are float32 in memory, shuffled. The figure is the
median over five stretches of steps.
"""

import itertools
import os
import sys
import time
from statistics import median
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"

import numpy as np

BATCH = {"softmax": 100, "mlp_relu": 100, "strided_convnet": 100, "convnet": 50}
HIDDEN = (200, 100, 60, 30)
STRETCHES = 5


def data() -> tuple[Any, Any]:
    draw = np.random.default_rng(0)
    return draw.random((60_000, 28, 28, 1), np.float32), draw.integers(0, 10, 60_000).astype(np.int32)


def keras_model(model: str) -> Any:
    import keras
    from keras import layers as ly

    dense = [ly.Dense(n, activation="relu") for n in HIDDEN]
    stacks = {
        "softmax": [ly.Flatten(), ly.Dense(10)],
        "mlp_relu": [ly.Flatten(), *dense, ly.Dense(10)],
        "strided_convnet": [
            ly.Conv2D(6, 6, padding="same", activation="relu"),
            ly.Conv2D(12, 5, strides=2, padding="same", activation="relu"),
            ly.Conv2D(24, 4, strides=2, padding="same", activation="relu"),
            ly.Flatten(),
            ly.Dense(200, activation="relu"),
            ly.Dropout(0.25),
            ly.Dense(10),
        ],
        "convnet": [
            ly.Conv2D(32, 5, padding="same", activation="relu"),
            ly.MaxPool2D(),
            ly.Conv2D(64, 5, padding="same", activation="relu"),
            ly.MaxPool2D(),
            ly.Flatten(),
            ly.Dense(1024, activation="relu"),
            ly.Dropout(0.5),
            ly.Dense(10),
        ],
    }
    network = keras.Sequential([keras.Input((28, 28, 1)), *stacks[model]])
    optimizer = keras.optimizers.SGD(0.5) if model == "softmax" else keras.optimizers.Adam(1e-3)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(optimizer, loss, metrics=["accuracy"])
    return network


def keras_fit(model: str, steps: int) -> list[float]:
    images, labels = data()
    network, batch = keras_model(model), BATCH[model]
    taken = min(steps, 60_000 // batch)  # one epoch a stretch, at most all images
    stretches = []
    for _ in range(STRETCHES + 1):
        began = time.perf_counter()
        network.fit(images[: taken * batch], labels[: taken * batch], batch_size=batch, epochs=1, verbose=0)
        stretches.append((time.perf_counter() - began) / taken)
    return stretches[1:]


def tf_function(model: str, steps: int) -> list[float]:
    import tensorflow as tf

    images, labels = data()
    network, batch = keras_model(model), BATCH[model]

    @tf.function
    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = network.loss(y, network(x, training=True))
        network.optimizer.apply_gradients(
            zip(tape.gradient(loss, network.trainable_variables), network.trainable_variables, strict=True)
        )
        return loss

    whole = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(60_000).repeat().batch(batch).prefetch(2)
    batches, stretches = iter(whole), []
    for _ in range(STRETCHES + 1):
        began = time.perf_counter()
        for _ in range(steps):
            loss = step(*next(batches))
        float(loss)
        stretches.append((time.perf_counter() - began) / steps)
    return stretches[1:]


def jax_scan(model: str, steps: int) -> list[float]:
    import jax
    import jax.numpy as jnp
    from jax import lax

    images, labels = data()
    batch, draw = BATCH[model], np.random.default_rng(0)

    def matrix(*shape: int) -> Any:
        return jnp.asarray(draw.normal(0, 0.1, shape), jnp.float32), jnp.full(shape[-1], 0.1, jnp.float32)

    def conv(x: Any, layer: Any, stride: int = 1) -> Any:
        form = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, layer[0], (stride, stride), "SAME", dimension_numbers=form) + layer[1]

    def pool(x: Any) -> Any:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME")

    def drop(x: Any, key: Any, dropout: float) -> Any:
        return x * jax.random.bernoulli(key, 1 - dropout, x.shape) / (1 - dropout)

    if model == "softmax":
        start = [(jnp.zeros((784, 10)), jnp.zeros(10))]
    elif model == "mlp_relu":
        sizes = (784, *HIDDEN, 10)
        start = [matrix(*pair) for pair in itertools.pairwise(sizes)]
    elif model == "strided_convnet":
        start = [matrix(6, 6, 1, 6), matrix(5, 5, 6, 12), matrix(4, 4, 12, 24), matrix(1176, 200), matrix(200, 10)]
    else:
        start = [matrix(5, 5, 1, 32), matrix(5, 5, 32, 64), matrix(3136, 1024), matrix(1024, 10)]

    def logits(layers: Any, x: Any, key: Any) -> Any:
        if model in ("softmax", "mlp_relu"):
            x = x.reshape(len(x), -1)
            for layer in layers[:-1]:
                x = jax.nn.relu(x @ layer[0] + layer[1])
            return x @ layers[-1][0] + layers[-1][1]
        if model == "strided_convnet":
            for layer, stride in zip(layers[:3], (1, 2, 2), strict=True):
                x = jax.nn.relu(conv(x, layer, stride))
            dropout = 0.25
        else:
            x = jax.nn.relu(pool(conv(x, layers[0])))
            x = jax.nn.relu(pool(conv(x, layers[1])))
            dropout = 0.5
        x = jax.nn.relu(x.reshape(len(x), -1) @ layers[-2][0] + layers[-2][1])
        return drop(x, key, dropout) @ layers[-1][0] + layers[-1][1]

    def cross_entropy(layers: Any, x: Any, y: Any, key: Any) -> Any:
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits(layers, x, key)), y[:, None], 1))

    every_image, every_label = jnp.asarray(images), jnp.asarray(labels)

    def step(state: Any, chosen: Any) -> Any:
        layers, first, second, t, key = state
        key, now = jax.random.split(key)
        gradient = jax.grad(cross_entropy)(layers, every_image[chosen], every_label[chosen], now)
        if model == "softmax":
            return (jax.tree.map(lambda p, g: p - 0.5 * g, layers, gradient), first, second, t + 1, key), None
        t = t + 1
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)
        learning_rate = 1e-3 * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        layers = jax.tree.map(lambda p, m, v: p - learning_rate * m / (jnp.sqrt(v) + 1e-8), layers, first, second)
        return (layers, first, second, t, key), None

    run = jax.jit(lambda state, order: lax.scan(step, state, order)[0])
    zeros = jax.tree.map(jnp.zeros_like, start)
    state, stretches = (start, zeros, zeros, jnp.zeros(()), jax.random.key(0)), []
    for _ in range(STRETCHES + 1):
        order = jnp.asarray(draw.integers(0, 60_000, (steps, batch)))
        began = time.perf_counter()
        state = jax.block_until_ready(run(state, order))
        stretches.append((time.perf_counter() - began) / steps)
    return stretches[1:]


if __name__ == "__main__":
    _, model, side, steps = sys.argv
    sides = {"keras": keras_fit, "tf.function": tf_function, "jax": jax_scan}
    print(1000 * median(sides[side](model, int(steps))))
