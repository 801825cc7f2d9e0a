from __future__ import annotations

import pytest

from windlass_testkit.simulators.gcs import gcs_bucket, gcs_server  # noqa: F401


@pytest.fixture
def signing_credentials(monkeypatch):
    """Credentials that sign and need no network."""
    from google.auth.credentials import AnonymousCredentials

    class Signing(AnonymousCredentials):
        signer_email = "me@x.iam.gserviceaccount.com"

        def sign_bytes(self, message):
            return b"signed"

    monkeypatch.setattr("windlass_storage_gcs.client.Client.credentials", lambda self: Signing())
