"""URLs that need no credentials: Google's V4 query signature."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from windlass.errors import AccessError
from windlass_storage_gcs.client import Client

__all__ = ["signed_url"]

_LONGEST = 7 * 86400


def signed_url(
    client: Client,
    bucket: str,
    name: str,
    method: str,
    expires: int,
    *,
    generation: str = "",
    now: datetime | None = None,
) -> str:
    """Address with which `method` works for `expires` seconds.

    Raises:
        AccessError: The credentials cannot sign.
    """
    credentials: Any = client.credentials()
    email = getattr(credentials, "signer_email", None) or getattr(credentials, "service_account_email", None)
    if not hasattr(credentials, "sign_bytes") or not email:
        raise AccessError(
            "these credentials cannot sign URLs",
            where=f"gs://{bucket}/{name}",
            hint="Use a service account key, or impersonate a service account "
            "(gcloud auth application-default login --impersonate-service-account=…).",
        )
    moment = now or datetime.now(UTC)
    stamp, day = moment.strftime("%Y%m%dT%H%M%SZ"), moment.strftime("%Y%m%d")
    scope = f"{day}/auto/storage/goog4_request"
    host = urlsplit(client.url).netloc
    path = f"/{bucket}/{quote(name, safe='/~')}"
    query = {
        "X-Goog-Algorithm": "GOOG4-RSA-SHA256",
        "X-Goog-Credential": f"{email}/{scope}",
        "X-Goog-Date": stamp,
        "X-Goog-Expires": str(min(max(1, expires), _LONGEST)),
        "X-Goog-SignedHeaders": "host",
    }
    if generation:
        query["generation"] = generation
    canonical = urlencode(sorted(query.items()), quote_via=quote, safe="~")
    request = f"{method}\n{path}\n{canonical}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
    digest = hashlib.sha256(request.encode()).hexdigest()
    signature = credentials.sign_bytes(f"GOOG4-RSA-SHA256\n{stamp}\n{scope}\n{digest}".encode())
    return f"{client.url}{path}?{canonical}&X-Goog-Signature={signature.hex()}"
