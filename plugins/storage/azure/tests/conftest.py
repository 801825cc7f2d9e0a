from __future__ import annotations

from windlass_testkit.simulators.azure import azure_container, azure_env, azurite_server  # noqa: F401
