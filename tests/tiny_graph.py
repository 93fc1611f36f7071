"""ONNX graphs of a few nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def graph(*nodes: onnx.NodeProto, constants: Mapping[str, Any] | None = None) -> onnx.ModelProto:
    """A model with condition (1, 2), latent (1, 3) and one output y."""
    inputs = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, k))
        for n, k in (("condition", 2), ("latent", 3))
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    known = [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()]
    return helper.make_model(helper.make_graph(list(nodes), "g", inputs, [output], known))
