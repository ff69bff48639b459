"""Converts one shard with rknn-toolkit2, and compares it in the toolkit's simulator where that is asked for.

Run by `host`, one process for each shard: the toolkit ends its process on some errors.
"""

import argparse
import importlib.metadata
import json
import pathlib
import sys

# What sysexits.h calls a service that is not available.
NO_TOOL = 69


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("model", "output", "chip", "shapes"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--check", help="folder with input_N.npy and output_N.npy")
    parser.add_argument("--ratio", type=float, default=0.0, help="largest difference, as a part of the largest value")
    words = parser.parse_args()
    try:
        from rknn.api import RKNN
    except ImportError as error:
        print(f"rknn-toolkit2 cannot be imported by {sys.executable}: {error}")
        return NO_TOOL
    print(f"rknn-toolkit2 {importlib.metadata.version('rknn-toolkit2')} on {sys.executable}")
    inputs = json.loads(words.shapes)
    tool = RKNN(verbose=False)
    try:
        return convert(tool, words, inputs)
    finally:
        tool.release()


def convert(tool, words, inputs) -> int:
    """Each step says by a number other than 0 that it failed, and prints why."""
    steps = [
        ("take the chip", lambda: tool.config(target_platform=words.chip)),
        (
            "read the shard",
            lambda: tool.load_onnx(
                model=words.model,
                inputs=[entry["name"] for entry in inputs],
                input_size_list=[entry["shape"] for entry in inputs],
            ),
        ),
        ("build", lambda: tool.build(do_quantization=False)),
        ("write the result", lambda: tool.export_rknn(words.output)),
    ]
    for doing, step in steps:
        # `config` gives nothing where it went well.
        if step() not in (0, None):
            print(f"rknn-toolkit2 failed to {doing}")
            return 1
    return check(tool, pathlib.Path(words.check), words.ratio) if words.check else 0


def check(tool, folder: pathlib.Path, ratio: float) -> int:
    """Runs the shard in the simulator on the given inputs, and compares with the given outputs."""
    import numpy

    def tensors(kind: str):
        count = len(list(folder.glob(f"{kind}_*.npy")))
        return [numpy.load(folder / f"{kind}_{index}.npy") for index in range(count)]

    given, expected = tensors("input"), tensors("output")
    if tool.init_runtime() != 0:
        print("rknn-toolkit2 failed to start its simulator")
        return 1
    # Inputs of four axes would be taken as NHWC otherwise.
    found = tool.inference(inputs=given, data_format=["nchw"] * len(given))
    if found is None or len(found) != len(expected):
        print(f"check: the simulator gave {0 if found is None else len(found)} outputs, expected {len(expected)}")
        return 1
    wrong = 0
    for index, (one, other) in enumerate(zip(found, expected)):
        one, other = numpy.asarray(one, numpy.float64), other.astype(numpy.float64)
        if one.size != other.size:
            print(f"check: output {index} has shape {one.shape}, expected {other.shape}")
            wrong += 1
            continue
        largest = max(float(numpy.abs(other).max(initial=0.0)), 1e-6)
        difference = float(numpy.abs(one.reshape(other.shape) - other).max(initial=0.0))
        # Written so that a difference that is no number is too large.
        fits = difference <= ratio * largest
        print(f"check: output {index} differs by {difference:.3e}, its largest value is {largest:.3e}{'' if fits else ': too much'}")
        wrong += not fits
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
