from __future__ import annotations

import pytest

from windlass_testkit.simulators.identity import identity_server  # noqa: F401


@pytest.fixture(autouse=True)
def managed_identity(identity_server, monkeypatch, tmp_path):  # noqa: F811
    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE",
                 "AZURE_SUBSCRIPTION_ID"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{identity_server.url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "header")
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
    monkeypatch.setenv("HOME", str(tmp_path))
