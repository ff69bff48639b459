#!/usr/bin/env python3
"""Measures models with Python's onnxruntime, as JSON lines like those of the bench `onnxruntime`, to be put beside them.

    cargo bench -p shardhost-benches --bench onnxruntime -- folder=/tmp/models
    python3 tests/benches/python_onnxruntime.py /tmp/models

Needs onnxruntime (or onnxruntime-gpu) and numpy. The folder has NAME.onnx and NAME.shapes.json, as the bench writes them.
"""

import argparse
import json
import pathlib
import sys
import time

import numpy
import onnxruntime

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "cann": "CANNExecutionProvider",
}
# The names that the host has for its engines.
ENGINES = {"cpu": "ort"}
# Runs that are not counted: they touch the weights for the first time.
WARMING_RUNS = 3
TYPES = {"tensor(float)": numpy.float32, "tensor(int64)": numpy.int64}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--provider", choices=sorted(PROVIDERS), default="cpu")
    parser.add_argument("--threads", default="1,2", help="threads within an operator, several lists of them after another")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each model and number of threads")
    parser.add_argument("--spinning", action="store_true", help="let threads that wait keep a core busy, as is onnxruntime's default")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="an option of the provider")
    return parser.parse_args()


def session(path, threads, chosen):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if chosen.spinning else "0")
    provider = PROVIDERS[chosen.provider]
    provider_options = dict(option.split("=", 1) for option in chosen.option)
    made = onnxruntime.InferenceSession(str(path), options, providers=[(provider, provider_options)])
    # Without this, what is measured may be the CPU: onnxruntime falls back to it with a line in its log.
    if made.get_providers()[0] != provider:
        sys.exit(f"{path.name}: {provider} was asked for, {made.get_providers()} is what onnxruntime uses")
    return made


def inputs(made, shapes):
    given = {}
    for declared in made.get_inputs():
        shape = shapes[declared.name]
        count = int(numpy.prod(shape, dtype=numpy.int64))
        if TYPES[declared.type] is numpy.int64:
            values = numpy.ones(count, dtype=numpy.int64)
        else:
            values = (numpy.arange(count) % 255 / 255.0 - 0.5).astype(numpy.float32)
        given[declared.name] = values.reshape(shape)
    return given


def measure(path, threads, chosen):
    begun = time.perf_counter()
    made = session(path, threads, chosen)
    load_ms = (time.perf_counter() - begun) * 1e3
    given = inputs(made, json.loads(path.with_suffix(".shapes.json").read_text()))
    times = []
    begun = time.perf_counter()
    while len(times) < 2 * WARMING_RUNS or time.perf_counter() - begun < chosen.seconds:
        started = time.perf_counter()
        made.run(None, given)
        times.append((time.perf_counter() - started) * 1e3)
    times = sorted(times[WARMING_RUNS:])
    return {
        "model": path.stem,
        "provider": ENGINES.get(chosen.provider, chosen.provider),
        "version": onnxruntime.__version__,
        "threads": threads,
        "load_ms": round(load_ms, 3),
        "p50_ms": round(times[len(times) // 2], 3),
        "min_ms": round(times[0], 3),
        "runs": len(times),
    }


def main():
    chosen = arguments()
    if chosen.provider in ("cuda", "tensorrt") and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    for path in sorted(chosen.folder.glob("*.onnx")):
        for threads in map(int, chosen.threads.split(",")):
            print(json.dumps({"bench": "python_onnxruntime", "values": measure(path, threads, chosen)}), flush=True)


if __name__ == "__main__":
    main()
