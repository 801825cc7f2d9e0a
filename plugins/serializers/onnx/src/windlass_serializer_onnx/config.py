"""Parameters of the serializer `onnx`."""

from __future__ import annotations

from attrs import frozen

from windlass.config import option


@frozen(kw_only=True)
class OnnxConfig:
    """How models are checked."""

    check: bool = option(help="Run ONNX's checker; turn it off for operators of your own.", default=True)
    full_check: bool = option(help="Infer shapes, too.", default=False)
