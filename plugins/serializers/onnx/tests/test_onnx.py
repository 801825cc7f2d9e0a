"""The serializer `onnx`."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from windlass.errors import ConfigError, SerializationError
from windlass.plugins import App


def make(op: str = "Add", opset: int = 17) -> Any:
    weight = numpy_helper.from_array(np.arange(4, dtype=np.float32), "w")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    graph = helper.make_graph([helper.make_node(op, ["x", "w"], ["y"])], "g", [x], [y], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def dumped(value: Any, parameters: dict[str, Any] | None = None) -> bytes:
    file = io.BytesIO()
    App().create_serializer("onnx", parameters).dump(value, file)
    return file.getvalue()


def loaded(data: bytes, parameters: dict[str, Any] | None = None) -> Any:
    return App().create_serializer("onnx", parameters).load(io.BytesIO(data))


def test_models() -> None:
    model = make()
    assert dumped(model) == dumped(make())
    assert loaded(dumped(model)) == model
    assert loaded(dumped(model, {"full_check": True}), {"full_check": True}) == model


def test_models_are_checked() -> None:
    with pytest.raises(SerializationError, match="NoSuchOperator"):
        dumped(make("NoSuchOperator"))
    data = dumped(make("NoSuchOperator"), {"check": False})
    with pytest.raises(SerializationError, match="NoSuchOperator"):
        loaded(data)
    assert loaded(data, {"check": False}) == make("NoSuchOperator")


def test_data_in_other_files_are_refused() -> None:
    model = make()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    with pytest.raises(SerializationError, match="'w' are in another file"):
        dumped(model)
    with pytest.raises(SerializationError, match="'w' are in another file"):
        loaded(model.SerializeToString(), {"check": False})


def test_data_in_other_files_are_found_in_branches() -> None:
    inner = make().graph
    inner.initializer[0].data_location = TensorProto.EXTERNAL
    model = make()
    model.graph.node.append(helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=make().graph))
    with pytest.raises(SerializationError, match="in another file"):
        dumped(model, {"check": False})


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(SerializationError, match=r"cannot write a builtins\.bytes"):
        dumped(make().SerializeToString())


def test_bad_bytes() -> None:
    data = dumped(make())
    for bad in (b"", b"garbage", data[:-4], data[: len(data) // 2], onnx.ModelProto().SerializeToString()):
        with pytest.raises(SerializationError):
            loaded(bad)


def test_a_typo_in_the_parameters() -> None:
    with pytest.raises(ConfigError, match="did you mean 'full_check'"):
        App().create_serializer("onnx", {"fullcheck": True})
