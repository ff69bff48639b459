"""Makes the mlp model: four small layers with random weights, for measuring what a request costs besides its sums.

Writes 1/model.onnx next to this file (or into the folder given with --output). The weights come from one
seed and the file holds nothing else that varies, so every run writes the same bytes.
"""

import argparse
import hashlib
import math
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper

INPUTS = 16
WIDTH = 32
LAYERS = 4
OUTPUTS = 4


def make_parameters(seed):
    """Returns the weights and biases by initializer name."""
    random = np.random.default_rng(seed)
    widths = [INPUTS] + [WIDTH] * LAYERS + [OUTPUTS]
    names = [f"layer{number}.gemm" for number in range(LAYERS)] + ["head.gemm"]
    parameters = {}
    for name, width_in, width_out in zip(names, widths, widths[1:]):
        # This deviation keeps the values at one size from layer to layer (He et al., 2015).
        weight = random.standard_normal((width_out, width_in)) * math.sqrt(2 / width_in)
        parameters[f"{name}.weight"] = weight.astype(np.float32)
        parameters[f"{name}.bias"] = (0.1 * random.standard_normal(width_out)).astype(np.float32)
    return parameters


def build_onnx(parameters):
    """Returns the checked ONNX model: x [batch, 16] to y [batch, 4]."""
    nodes = []
    value = "x"
    for number in range(LAYERS):
        name = f"layer{number}"
        inputs = [value, f"{name}.gemm.weight", f"{name}.gemm.bias"]
        nodes.append(helper.make_node("Gemm", inputs, [f"{name}.gemm.output"], name=f"{name}.gemm", transB=1))
        value = f"{name}.relu.output"
        nodes.append(helper.make_node("Relu", [f"{name}.gemm.output"], [value], name=f"{name}.relu"))
    inputs = [value, "head.gemm.weight", "head.gemm.bias"]
    nodes.append(helper.make_node("Gemm", inputs, ["y"], name="head.gemm", transB=1))

    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", INPUTS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", OUTPUTS])],
        [
            helper.make_tensor(name, TensorProto.FLOAT, array.shape, array.astype("<f4").tobytes(), raw=True)
            for name, array in parameters.items()
        ],
    )
    model = helper.make_model(
        graph,
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)],
        producer_name="models/mlp/make.py",
        doc_string="Four layers with random weights: for measuring overhead, not for answers.",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--output", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    arguments = arguments.parse_args()

    path = arguments.output / "1" / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    model_bytes = build_onnx(make_parameters(arguments.seed)).SerializeToString(deterministic=True)
    path.write_bytes(model_bytes)
    print(f"wrote {len(model_bytes)} bytes, sha256 {hashlib.sha256(model_bytes).hexdigest()}")


if __name__ == "__main__":
    main()
