from __future__ import annotations

from windlass_testkit.simulators.aws import aws_env, moto_server  # noqa: F401
