"""The contract of serializers, kept by `onnx`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from windlass_testkit.serializers import SerializerContract


class TestOnnx(SerializerContract):
    name = "onnx"

    @pytest.fixture
    def sample(self) -> Any:
        weight = numpy_helper.from_array(np.arange(1000, dtype=np.float32), "w")
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1000])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1000])
        graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [weight])
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)

    @pytest.fixture
    def unfit(self) -> Any:
        return b"a serialized model"
