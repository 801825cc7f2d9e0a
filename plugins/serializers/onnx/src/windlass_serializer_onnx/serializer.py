"""ONNX models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from windlass.errors import SerializationError
from windlass.serializers import Serializer, reading, type_name, writing
from windlass_serializer_onnx.config import OnnxConfig


class OnnxSerializer(Serializer):
    """Writes whole, checked models."""

    def __init__(self, config: OnnxConfig) -> None:
        self._config = config

    def dump(self, obj: Any, file: BinaryIO) -> None:
        """Write an ``onnx.ModelProto``. Protobuf makes its bytes in memory first. See `Serializer.dump`."""
        import onnx

        with writing(obj, "onnx", hint="Convert the model to ONNX first (skl2onnx, torch.onnx.export …)."):
            if not isinstance(obj, onnx.ModelProto):
                raise TypeError("not an onnx.ModelProto")
        with writing(obj, "onnx", hint="Correct the model; models above 2 GB need tensors in files of their own."):
            _check_whole(obj)
            data: bytes = cast(Any, obj).SerializeToString(deterministic=True)
            self._check(data)
            file.write(data)

    def load(self, file: BinaryIO) -> Any:
        """Read an ``onnx.ModelProto``. See `Serializer.load`."""
        import onnx

        with reading("onnx"):
            data = file.read()
            model = onnx.load_model_from_string(data)
            _check_whole(model)
            self._check(data)
            return model

    def versions(self) -> dict[str, str]:
        """Newest version of the format that is understood here."""
        import onnx

        return {"ir": str(int(onnx.IR_VERSION))}

    def _check(self, data: bytes) -> None:
        if self._config.check:
            import onnx

            onnx.checker.check_model(data, full_check=self._config.full_check)


def _check_whole(model: Any) -> None:
    import onnx

    if not model.ByteSize():
        raise SerializationError("an empty model", hint="The bytes are cut off, or the model was never filled.")
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise SerializationError(
                f"the data of the tensor '{tensor.name}' are in another file",
                hint="Load the model with its data (onnx.load does), then onnx.external_data_helper."
                "convert_model_from_external_data(model).",
                context={"serializer": "onnx", "type": type_name(model)},
            )


def _tensors(model: Any) -> Iterator[Any]:
    """All tensors of a model, those in attributes and in the graphs of control flow too."""
    graphs = [model.graph, *(info.algorithm for info in model.training_info)]
    nodes = [node for function in model.functions for node in function.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
            nodes += graph.node
            continue
        for attribute in nodes.pop().attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            graphs += (g for g in (attribute.g, *attribute.graphs) if g.ByteSize())
