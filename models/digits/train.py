"""Trains the digits model: a small residual network that reads handwritten digits of 8x8 pixels.

Writes, next to this file (or into the folder given with --output):
  1/model.onnx      the trained network
  samples/          200 held-out pictures as PNG, the true digit in each name
  accuracy.json     what the written file reaches on the pictures it has never seen

One seed decides the split, the first weights, the order and the distortions, so a second run on the
same machine writes the same bytes. The recipe is fixed: nothing is chosen by a look at the held-out
pictures, and the weights after the last epoch are the ones that are written.
"""

import argparse
import hashlib
import json
import math
import os
import pathlib
import time

# Set before jax is imported. One thread keeps the order of every sum, and so every byte, the same.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

CLASSES = 10
SIDE = 8
INK_MAX = 16  # the data set counts ink in each pixel from 0 to 16
HELD_OUT = 360
SAMPLES = 200
SAMPLE_ZOOM = 4
ACCURACY_MIN = 0.97
FILE_BYTES_MAX = 500_000

STEM_CHANNELS = 16
# (channels, stride) of each residual block. Behind each block exactly one value is live: a legal cut.
BLOCKS = ((16, 1), (16, 1), (16, 1), (24, 2), (24, 1), (24, 1), (32, 2), (32, 1))

EPOCHS = 60
BATCH = 64
LEARNING_RATE_MAX = 3e-3
WARM_UP_SHARE = 0.1
WEIGHT_DECAY = 1e-2
TURN_DEGREES_MAX = 10.0
ZOOM_MAX = 0.08
SHIFT_PIXELS_MAX = 0.8


# ---------------------------------------------------------------------------------------- data


def split_digits(seed):
    """Returns (images, labels) to train on and (images, labels) held out, in a seeded order.

    Images are float32 [count, 1, 8, 8] with values 0..1. Each digit has its fair share on both sides.
    """
    digits = load_digits()
    images = (digits.images / INK_MAX).astype(np.float32)[:, None]
    labels = digits.target.astype(np.int32)
    train_images, held_images, train_labels, held_labels = train_test_split(
        images, labels, test_size=HELD_OUT, stratify=labels, random_state=seed
    )
    order = np.random.default_rng(seed).permutation(HELD_OUT)
    return (train_images, train_labels), (held_images[order], held_labels[order])


def distort(images, key):
    """Turns, zooms and shifts each image a little, with linear interpolation and black outside."""
    turn_key, zoom_key, shift_key = jax.random.split(key, 3)
    count = images.shape[0]
    turn = jnp.deg2rad(jax.random.uniform(turn_key, (count, 1), minval=-TURN_DEGREES_MAX, maxval=TURN_DEGREES_MAX))
    zoom = 1 + jax.random.uniform(zoom_key, (count, 1), minval=-ZOOM_MAX, maxval=ZOOM_MAX)
    shift = jax.random.uniform(shift_key, (count, 2, 1), minval=-SHIFT_PIXELS_MAX, maxval=SHIFT_PIXELS_MAX)

    middle = (SIDE - 1) / 2
    row, column = (axis.reshape(1, -1) - middle for axis in jnp.mgrid[:SIDE, :SIDE])
    source_row = zoom * (jnp.cos(turn) * row - jnp.sin(turn) * column) + middle + shift[:, 0]
    source_column = zoom * (jnp.sin(turn) * row + jnp.cos(turn) * column) + middle + shift[:, 1]

    # Each target pixel is the sum of all source pixels, weighted by how near they lie to its source point.
    pixels = jnp.arange(SIDE)
    row_weights = jnp.maximum(0, 1 - jnp.abs(source_row[:, :, None] - pixels))
    column_weights = jnp.maximum(0, 1 - jnp.abs(source_column[:, :, None] - pixels))
    moved = jnp.einsum("npr,npc,nrc->np", row_weights, column_weights, images[:, 0])
    return moved.reshape(images.shape)


# --------------------------------------------------------------------------------------- model


def list_blocks():
    """Yields (name, channels in, channels out, stride) of each residual block."""
    channels_in = STEM_CHANNELS
    for number, (channels, stride) in enumerate(BLOCKS):
        yield f"block{number}", channels_in, channels, stride
        channels_in = channels


def needs_projection(channels_in, channels, stride):
    """Whether the skip path must change the shape, because the block does."""
    return channels_in != channels or stride != 1


def make_parameters(seed):
    """Returns the first weights by initializer name. Biases and each block's last convolution start at
    zero, so that a block starts as its skip path and the network needs no normalization."""
    random = np.random.default_rng(seed)
    parameters = {}

    def add_layer(name, *shape, gain):
        deviation = gain / math.sqrt(math.prod(shape[1:]))
        parameters[f"{name}.weight"] = (deviation * random.standard_normal(shape)).astype(np.float32)
        parameters[f"{name}.bias"] = np.zeros(shape[0], np.float32)

    before_relu = math.sqrt(2)
    add_layer("stem.conv", STEM_CHANNELS, 1, 3, 3, gain=before_relu)
    for name, channels_in, channels, stride in list_blocks():
        add_layer(f"{name}.conv1", channels, channels_in, 3, 3, gain=before_relu)
        add_layer(f"{name}.conv2", channels, channels, 3, 3, gain=0)
        if needs_projection(channels_in, channels, stride):
            add_layer(f"{name}.projection", channels, channels_in, 1, 1, gain=1)
    add_layer("head.gemm", CLASSES, BLOCKS[-1][0], gain=1)
    return parameters


def compute_logits(parameters, images):
    """The network up to its softmax: [count, 1, 8, 8] to [count, 10]."""

    def convolve(name, value, stride=1):
        weight = parameters[f"{name}.weight"]
        pad = weight.shape[2] // 2
        value = jax.lax.conv_general_dilated(value, weight, (stride, stride), ((pad, pad), (pad, pad)))
        return value + parameters[f"{name}.bias"][:, None, None]

    trunk = jax.nn.relu(convolve("stem.conv", images))
    for name, channels_in, channels, stride in list_blocks():
        inner = jax.nn.relu(convolve(f"{name}.conv1", trunk, stride))
        inner = convolve(f"{name}.conv2", inner)
        skip = convolve(f"{name}.projection", trunk, stride) if needs_projection(channels_in, channels, stride) else trunk
        trunk = jax.nn.relu(inner + skip)
    pooled = trunk.mean(axis=(2, 3))
    return pooled @ parameters["head.gemm.weight"].T + parameters["head.gemm.bias"]


# ------------------------------------------------------------------------------------ training


def compute_loss(parameters, images, labels):
    """Mean cross-entropy."""
    log_probabilities = jax.nn.log_softmax(compute_logits(parameters, images))
    return -jnp.take_along_axis(log_probabilities, labels[:, None], axis=1).mean()


@jax.jit
def step(state, images, labels, key, learning_rate):
    """One step of Adam with decoupled weight decay (Loshchilov and Hutter, 2019). Returns (state, loss)."""
    parameters, first, second, count = state
    loss, gradient = jax.value_and_grad(compute_loss)(parameters, distort(images, key), labels)
    count = count + 1
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)

    def move(p, m, v):
        direction = (m / (1 - 0.9**count)) / (jnp.sqrt(v / (1 - 0.999**count)) + 1e-8)
        decay = WEIGHT_DECAY if p.ndim > 1 else 0.0  # biases do not decay
        return p - learning_rate * (direction + decay * p)

    return (jax.tree.map(move, parameters, first, second), first, second, count), loss


def choose_learning_rate(progress):
    """A straight warm-up, then half a cosine down to zero; progress runs from 0 to 1."""
    if progress < WARM_UP_SHARE:
        return LEARNING_RATE_MAX * progress / WARM_UP_SHARE
    return LEARNING_RATE_MAX * 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP_SHARE) / (1 - WARM_UP_SHARE)))


def train(images, labels, seed):
    """Returns the parameters after the last epoch."""
    parameters = jax.tree.map(jnp.asarray, make_parameters(seed))
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    state = (parameters, zeros, zeros, jnp.zeros((), jnp.float32))
    random = np.random.default_rng(seed)
    key = jax.random.key(seed)
    steps = len(images) // BATCH
    for epoch in range(EPOCHS):
        order = random.permutation(len(images))
        losses = []
        for number in range(steps):
            chosen = order[number * BATCH : (number + 1) * BATCH]
            done = epoch * steps + number
            learning_rate = choose_learning_rate((done + 1) / (EPOCHS * steps))
            state, loss = step(state, images[chosen], labels[chosen], jax.random.fold_in(key, done), learning_rate)
            losses.append(loss)
        if (epoch + 1) % 10 == 0:
            print(f"epoch {epoch + 1:3} of {EPOCHS}: training loss {np.mean(losses):.4f}", flush=True)
    return jax.tree.map(np.asarray, state[0])


# -------------------------------------------------------------------------------------- export


def build_onnx(parameters):
    """Returns the network as a checked ONNX model, layer names as in `parameters`."""
    nodes = []

    def add(operator, name, inputs, output=None, **attributes):
        output = output or f"{name}.output"
        nodes.append(helper.make_node(operator, inputs, [output], name=name, **attributes))
        return output

    def convolve(name, value, stride=1):
        side = parameters[f"{name}.weight"].shape[2]
        inputs = [value, f"{name}.weight", f"{name}.bias"]
        return add("Conv", name, inputs, kernel_shape=[side, side], pads=[side // 2] * 4, strides=[stride, stride])

    trunk = add("Relu", "stem.relu", [convolve("stem.conv", "image")])
    for name, channels_in, channels, stride in list_blocks():
        inner = add("Relu", f"{name}.relu1", [convolve(f"{name}.conv1", trunk, stride)])
        inner = convolve(f"{name}.conv2", inner)
        skip = convolve(f"{name}.projection", trunk, stride) if needs_projection(channels_in, channels, stride) else trunk
        trunk = add("Relu", f"{name}.relu2", [add("Add", f"{name}.add", [inner, skip])])
    pooled = add("GlobalAveragePool", "head.pool", [trunk])
    flat = add("Flatten", "head.flatten", [pooled], axis=1)
    logits = add("Gemm", "head.gemm", [flat, "head.gemm.weight", "head.gemm.bias"], transB=1)
    add("Softmax", "head.softmax", [logits], output="probabilities", axis=1)

    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", CLASSES])],
        [
            helper.make_tensor(name, TensorProto.FLOAT, value.shape, value.astype("<f4").tobytes(), raw=True)
            for name, value in parameters.items()
        ],
    )
    model = helper.make_model(
        graph,
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)],
        producer_name="models/digits/train.py",
        doc_string="Reads one handwritten digit from 8x8 pixels.",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


# ------------------------------------------------------------------------------------- samples


def write_samples(folder, images, labels):
    """Writes NNN_D.png for each image and takes older samples away."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.png"):
        stale.unlink()
    for number, (image, label) in enumerate(zip(images, labels)):
        pixels = np.round(image[0] * 255).astype(np.uint8)
        pixels = pixels.repeat(SAMPLE_ZOOM, axis=0).repeat(SAMPLE_ZOOM, axis=1)
        Image.fromarray(pixels).save(folder / f"{number:03}_{label}.png", optimize=True)


def read_samples(folder):
    """Reads the samples as model.yaml says: grayscale, nearest pixel down to 8x8, times 1/255, NCHW."""
    paths = sorted(folder.glob("*.png"))
    pictures = [Image.open(path).convert("L").resize((SIDE, SIDE), Image.Resampling.NEAREST) for path in paths]
    images = np.stack([np.asarray(picture, np.float32)[None] for picture in pictures]) * np.float32(1 / 255)
    return images, np.array([int(path.stem.split("_")[1]) for path in paths])


# ---------------------------------------------------------------------------------------- main


def open_session(path):
    """Opens the written file with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def measure_accuracy(probabilities, labels):
    """The share of rows whose most likely digit is the true one."""
    return float((probabilities.argmax(axis=1) == labels).mean())


def check(holds, text):
    """Ends the run when something that was promised does not hold."""
    if not holds:
        raise SystemExit(f"train.py: {text}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--output", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    arguments = arguments.parse_args()
    model_path = arguments.output / "1" / "model.onnx"
    samples_path = arguments.output / "samples"

    (train_images, train_labels), (held_images, held_labels) = split_digits(arguments.seed)
    start = time.monotonic()
    parameters = train(train_images, train_labels, arguments.seed)
    print(f"trained in {time.monotonic() - start:.0f} s")

    model_path.parent.mkdir(parents=True, exist_ok=True)
    model_bytes = build_onnx(parameters).SerializeToString(deterministic=True)
    model_path.write_bytes(model_bytes)
    write_samples(samples_path, held_images[:SAMPLES], held_labels[:SAMPLES])

    session = open_session(model_path)
    expected = np.asarray(jax.nn.softmax(compute_logits(parameters, held_images)))
    (held_answers,) = session.run(["probabilities"], {"image": held_images})
    difference = float(np.abs(held_answers - expected).max())
    held_accuracy = measure_accuracy(held_answers, held_labels)
    sample_accuracy = measure_accuracy(held_answers[:SAMPLES], held_labels[:SAMPLES])
    png_images, png_labels = read_samples(samples_path)
    (png_answers,) = session.run(["probabilities"], {"image": png_images})
    png_accuracy = measure_accuracy(png_answers, png_labels)
    rounding = float(np.abs(png_images - held_images[:SAMPLES]).max())

    check(difference < 1e-4, f"the file's answers differ from the trained network's by {difference}")
    check(held_accuracy == measure_accuracy(expected, held_labels), "the file's accuracy is not the trained network's")
    check((png_labels == held_labels[:SAMPLES]).all(), "the samples' names do not tell the true digits")
    check(rounding <= 0.5001 / 255, f"a sample pixel is off by {rounding}, more than its rounding")
    check(len(model_bytes) <= FILE_BYTES_MAX, f"the file has {len(model_bytes)} bytes, more than {FILE_BYTES_MAX}")
    accuracies = {"held_out": held_accuracy, "samples": sample_accuracy, "samples_as_png": png_accuracy}
    for part, accuracy in accuracies.items():
        check(accuracy >= ACCURACY_MIN, f"the accuracy on {part} is {accuracy}, less than {ACCURACY_MIN}")

    report = {
        "seed": arguments.seed,
        "pictures": {"training": len(train_labels), "held_out": HELD_OUT, "samples": SAMPLES},
        "accuracy": accuracies,
        "file": {"name": "1/model.onnx", "bytes": len(model_bytes), "sha256": hashlib.sha256(model_bytes).hexdigest()},
    }
    text = json.dumps(report, indent=2) + "\n"
    (arguments.output / "accuracy.json").write_text(text)
    print(text, end="")
    print(f"largest difference between the file's and the trained network's probabilities: {difference:.1e}")


if __name__ == "__main__":
    main()
