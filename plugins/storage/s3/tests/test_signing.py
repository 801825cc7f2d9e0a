from __future__ import annotations

from datetime import UTC, datetime

import pytest

from windlass_storage_s3.signing import Keys, query_string, signed_headers


@pytest.mark.parametrize("token", ["", "a-token/with+odd="])
@pytest.mark.parametrize("path", ["/bucket/", "/bucket/a%20b/%C3%BC~x", "/bucket/a//b/./c"])
@pytest.mark.parametrize(
    "parameters",
    [{}, {"list-type": "2", "prefix": "a/b c", "encoding-type": "url"}, {"versions": "", "key-marker": "ü+&=*'~"}],
    ids=range(3),
)
def test_signatures_are_those_of_botocore(parameters, path, token):
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    query = query_string(parameters)
    url = f"http://127.0.0.1:9000{path}{'?' if query else ''}{query}"
    request = AWSRequest("GET", url, headers={"x-amz-checksum-mode": "ENABLED"})
    S3SigV4Auth(Credentials("key", "secret", token or None), "s3", "eu-west-3").add_auth(request)
    moment = datetime.strptime(request.context["timestamp"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    made = signed_headers(
        "GET", "127.0.0.1:9000", path, query, {"x-amz-checksum-mode": "ENABLED"}, Keys("key", "secret", token),
        "eu-west-3", moment,
    )  # fmt: skip
    assert made["authorization"] == request.headers["Authorization"]
