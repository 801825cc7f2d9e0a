"""The contract of container registries: what is there is found by its digest, what is not there is None."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from windlass.errors import RegistryError, UsageError
from windlass.plugins.app import App
from windlass.registries import Credentials, Registry
from windlass_testkit.base import Contract

__all__ = ["RegistryContract", "put_image"]

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"


def put_image(host: str, repository: str, tag: str, *, authorization: str = "", index: bool = False) -> str:
    """Put a tiny image on a registry that speaks plain HTTP, with nothing but the protocol.

    Args:
        host: ``127.0.0.1:port``.
        repository: Repository.
        tag: Tag.
        authorization: Value of the header, if the registry wants one.
        index: Put an index with the image in it under the tag.

    Returns:
        The digest behind the tag.
    """
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}).encode()
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    headers = {"Authorization": authorization} if authorization else {}

    def send(method: str, url: str, data: bytes, kind: str) -> Mapping[str, str]:
        request = urllib.request.Request(url, data, {**headers, "Content-Type": kind}, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return dict(answer.headers)

    place = send("POST", f"http://{host}/v2/{repository}/blobs/uploads/", b"", "text/plain")["Location"]
    glue = "&" if "?" in place else "?"
    send("PUT", f"{place}{glue}digest={digest}", config, "application/octet-stream")
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": len(config)},
            "layers": [],
        }
    ).encode()
    own = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    if not index:
        send("PUT", f"http://{host}/v2/{repository}/manifests/{tag}", manifest, _MANIFEST)
        return own
    send("PUT", f"http://{host}/v2/{repository}/manifests/{own}", manifest, _MANIFEST)
    entry = {"mediaType": _MANIFEST, "digest": own, "size": len(manifest),
             "platform": {"architecture": "amd64", "os": "linux"}}  # fmt: skip
    listing = json.dumps({"schemaVersion": 2, "mediaType": _INDEX, "manifests": [entry]}).encode()
    send("PUT", f"http://{host}/v2/{repository}/manifests/{tag}", listing, _INDEX)
    return f"sha256:{hashlib.sha256(listing).hexdigest()}"


def basic(username: str, password: str) -> str:
    """The Authorization header for a user."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


class RegistryContract(Contract):
    """Subclass it, set `name`, and give the fixtures `existing` and, where one is needed, `config`."""

    kind = "registry"

    # -- what the subclass gives ------------------------------------------------------------------------------

    @pytest.fixture
    def existing(self) -> tuple[str, str]:
        """A reference ``host/repository:tag`` of an image that exists, and its digest."""
        raise NotImplementedError("give a fixture `existing`")

    @pytest.fixture
    def unreachable(self) -> str:
        """A reference on a registry that does not answer."""
        return "127.0.0.1:9/nobody/listens:here"

    # -- what the suite uses ----------------------------------------------------------------------------------

    @pytest.fixture
    def registry(self, app: App, config: Mapping[str, Any]) -> Iterator[Registry]:
        """The registry under test."""
        registry = app.create_registry(self.name, config)
        yield registry
        registry.close()

    # -- the contract -----------------------------------------------------------------------------------------

    def test_check_passes(self, registry: Registry) -> None:
        registry.check()

    def test_close_may_be_repeated(self, app: App, config: Mapping[str, Any]) -> None:
        registry = app.create_registry(self.name, config)
        registry.close()
        registry.close()

    def test_resolves_a_tag(self, registry: Registry, existing: tuple[str, str]) -> None:
        ref, digest = existing
        assert registry.resolve(ref) == digest

    def test_resolves_a_digest(self, registry: Registry, existing: tuple[str, str]) -> None:
        ref, digest = existing
        assert registry.resolve(f"{ref.rpartition(':')[0]}@{digest}") == digest

    def test_missing_tag_is_none(self, registry: Registry, existing: tuple[str, str]) -> None:
        assert registry.resolve(f"{existing[0].rpartition(':')[0]}:there-is-none") is None

    def test_tag_of_another_image_does_not_count(self, registry: Registry, existing: tuple[str, str]) -> None:
        repository, _, tag = existing[0].rpartition(":")
        assert registry.resolve(f"{repository}-other:{tag}") is None

    def test_missing_digest_is_none(self, registry: Registry, existing: tuple[str, str]) -> None:
        assert registry.resolve(f"{existing[0].rpartition(':')[0]}@sha256:{'0' * 64}") is None

    @pytest.mark.parametrize(
        "ref", ["", "with space:1", "team/UPPER:1", "name:", "a//b", "name@sha256:12", "http://x/y"]
    )
    def test_what_is_no_reference_is_a_usage_error(self, registry: Registry, ref: str) -> None:
        with pytest.raises(UsageError):
            registry.resolve(ref)

    def test_unreachable_is_a_retryable_error(self, registry: Registry, unreachable: str) -> None:
        with pytest.raises(RegistryError) as caught:
            registry.resolve(unreachable)
        assert caught.value.retryable

    def test_credentials_keep_their_secret(self, registry: Registry, existing: tuple[str, str]) -> None:
        credentials = registry.credentials(existing[0])
        assert isinstance(credentials, Credentials)
        if credentials.password:
            assert credentials.password not in repr(credentials)
            assert credentials.password not in repr(registry)

    def test_expiring_credentials_say_when(
        self, registry: Registry, descriptor: Any, existing: tuple[str, str]
    ) -> None:
        import time

        credentials = registry.credentials(existing[0])
        if descriptor.capabilities.credentials_expire:
            assert credentials.expires_at > time.time() + 600
        else:
            assert credentials.expires_at == 0.0

    def test_ensure_may_be_repeated(self, registry: Registry, existing: tuple[str, str]) -> None:
        repository = existing[0].rpartition(":")[0]
        registry.ensure(repository)
        registry.ensure(repository)
        assert registry.resolve(existing[0]) == existing[1]

    def test_serves_several_threads(self, registry: Registry, existing: tuple[str, str]) -> None:
        found: list[Any] = []

        def ask() -> None:
            try:
                found.append(registry.resolve(existing[0]))
            except Exception as error:
                found.append(error)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert found == [existing[1]] * 8
