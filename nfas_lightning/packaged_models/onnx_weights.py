"""Read the weights of an ONNX file as torch tensors, dequantized; nothing of the graph is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nfas_lightning.models.optional import require

__all__ = ["read_onnx_initializers"]

_Array = npt.NDArray[Any]
_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")


def read_onnx_initializers(path: Path) -> dict[str, Tensor]:
    """Read the constants of an ONNX graph.

    - A quantized constant q that a DequantizeLinear node reads becomes scale * (q - zero point) in float32,
      along the node's axis, under its name before quantization. Scales and zero points, those of activations
      too, are dropped.
    - Exporters fold the transpose of a linear layer into its weight, whose name is lost. Where the product is
      followed by the addition of a constant ``x.bias``, the weight comes as ``x.weight``, turned back to
      (out, in). Any other factor of a product keeps the graph's name and layout.

    Args:
        path: the ONNX file, weights inside.

    Returns:
        Name -> tensor: the factors of matrix products in the order of execution, then the rest in the order
        of the file.

    Raises:
        ImportError: the onnx package is missing.
        ValueError: two constants would share a name.
    """
    graph, constants = _load(path)
    before: dict[str, str] = {}  # a tensor of the graph -> the one it was before quantizers touched it
    quantized: dict[str, _Array] = {}
    parameters: set[str] = set()
    for node in graph.node:
        if node.op_type in _QUANTIZERS:
            before[node.output[0]] = before.get(node.input[0], node.input[0])
            parameters.update(node.input[1:])
            if node.input[0] in constants:
                quantized[node.input[0]] = _dequantize(node, constants)
    constants = {name: value for name, value in {**constants, **quantized}.items() if name not in parameters}

    names = {name: name.removesuffix("_quantized") if name in quantized else name for name in constants}
    biases: dict[str, str] = {}  # a tensor of the graph -> the constant added to it
    for node in graph.node:
        if node.op_type == "Add":
            first, second = (before.get(operand, operand) for operand in node.input)
            biases.update({first: second} if second in constants else {second: first})
    products: dict[str, None] = {}
    for node in graph.node:
        if node.op_type != "MatMul" or (factor := before.get(node.input[1], node.input[1])) not in constants:
            continue
        bias = names.get(biases.get(node.output[0], ""), "")
        if factor not in products and bias.endswith(".bias"):
            names[factor] = bias.removesuffix("bias") + "weight"
            constants[factor] = constants[factor].T
        products[factor] = None

    weights: dict[str, Tensor] = {}
    for source in [*products, *(name for name in constants if name not in products)]:
        if names[source] in weights:
            raise ValueError(f"{path.name} holds two constants named {names[source]!r}: expected one.")
        weights[names[source]] = torch.from_numpy(np.array(constants[source], order="C"))
    return weights


def _load(path: Path) -> tuple[Any, dict[str, _Array]]:
    """Return the graph and its constants, each a writable array of its own."""
    graph = require("onnx", "audio").load(str(path), load_external_data=False).graph
    to_array = require("onnx.numpy_helper", "audio").to_array
    return graph, {constant.name: np.array(to_array(constant)) for constant in graph.initializer}


def _dequantize(node: Any, constants: dict[str, _Array]) -> _Array:
    """Return scale * (q - zero point) of a DequantizeLinear node whose inputs are all constants."""
    values, scale, *zero_points = (constants[name] for name in node.input)
    axis = next(
        (attribute.i for attribute in node.attribute if attribute.name == "axis"), 1
    )  # ONNX's default
    along = (
        [-1 if axis_ == axis % values.ndim else 1 for axis_ in range(values.ndim)] if scale.size > 1 else []
    )
    # int32 holds every difference of 8-bit values, and bias values (int32, zero point 0) as they are
    centered = values.astype(np.int32) - sum(zero.astype(np.int32).reshape(along) for zero in zero_points)
    return np.asarray(centered * scale.reshape(along), dtype=np.float32)
