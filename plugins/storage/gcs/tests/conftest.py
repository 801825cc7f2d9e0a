from __future__ import annotations

from windlass_testkit.simulators.gcs import gcs_bucket, gcs_server  # noqa: F401
