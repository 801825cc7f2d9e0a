from __future__ import annotations

import warnings

import pytest

from windlass_testkit.simulators.aws import aws_env, moto_server, s3_bucket  # noqa: F401


@pytest.fixture(autouse=True)
def _no_utcnow_complaints():
    # botocore calls datetime.utcnow() on Python versions that deprecate it.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="datetime.datetime.utcnow", category=DeprecationWarning)
        yield
