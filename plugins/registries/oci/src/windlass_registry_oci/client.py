"""The OCI distribution protocol, as far as it is needed: one request, and the sign-in it asks for."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import httpx2
from attrs import frozen

from windlass.errors import RegistryError
from windlass.launch.images import ImageRef
from windlass.registries import Credentials
from windlass_registry_oci.docker_config import IDENTITY_TOKEN

__all__ = ["OciClient"]

_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_PARAMETER = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
_TRIES = 3
_PAUSE = 0.3
_API_HOSTS = {"docker.io": "registry-1.docker.io"}


@frozen(kw_only=True)
class _Token:
    value: str
    until: float


class OciClient:
    """Speaks to registries. Serves several threads.

    Args:
        credentials: Finds credentials for an image.
        insecure: Hosts that may be spoken to without TLS; loopback always may.
        ca_file: Further certificate authorities.
        timeout: Seconds.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        credentials: Callable[[ImageRef], Credentials],
        *,
        insecure: tuple[str, ...] = (),
        ca_file: str = "",
        timeout: float = 30.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._credentials = credentials
        self._insecure = insecure
        self._clock = clock
        self._http = httpx2.Client(verify=_verification(ca_file), timeout=timeout, follow_redirects=False)
        self._bases: dict[str, str] = {}
        self._tokens: dict[tuple[str, str, str], _Token] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Give back connections."""
        self._http.close()

    def manifest_digest(self, ref: ImageRef) -> str | None:
        """The digest of a manifest, None if there is none. Raises `RegistryError`."""
        path = f"/v2/{ref.path}/manifests/{ref.target}"
        answer = self._request("HEAD", ref, path, {"Accept": _MANIFESTS})
        if answer.status_code == 404:
            return None
        self._check(answer, ref)
        digest = answer.headers.get("Docker-Content-Digest", "")
        if not digest:
            answer = self._request("GET", ref, path, {"Accept": _MANIFESTS})
            self._check(answer, ref)
            digest = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
        if not _DIGEST.fullmatch(digest):
            raise RegistryError(f"the registry answered with {digest!r}, which is no digest", where=str(ref))
        return digest

    def ping(self, ref: ImageRef) -> None:
        """Ask whether the registry answers and takes our credentials. Raises `RegistryError`."""
        self._check(self._request("GET", ref, "/v2/", {}, scope=""), ref)

    # -- requests --------------------------------------------------------------------------------------------

    def _request(
        self, method: str, ref: ImageRef, path: str, headers: Mapping[str, str], scope: str | None = None
    ) -> httpx2.Response:
        scope = f"repository:{ref.path}:pull" if scope is None else scope
        key = (ref.host, scope, self._credentials(ref).username)
        with self._lock:
            token = self._tokens.get(key)
        sent = dict(headers)
        if token is not None and token.until > self._clock():
            sent["Authorization"] = token.value
        answer = self._send(method, ref, path, sent)
        if answer.status_code != 401:
            return answer
        value, seconds = self._sign_in(answer, ref, scope)
        if not value:
            return answer
        with self._lock:
            self._tokens[key] = _Token(value=value, until=self._clock() + seconds)
        return self._send(method, ref, path, {**headers, "Authorization": value})

    def _send(self, method: str, ref: ImageRef, path: str, headers: Mapping[str, str]) -> httpx2.Response:
        base = self._bases.get(ref.host)
        host = _API_HOSTS.get(ref.host, ref.host)
        bases = [base] if base else [f"https://{host}"]
        if not base and (ref.is_loopback or ref.host in self._insecure):
            bases.append(f"http://{host}")
        for i, url in enumerate(bases):
            last = i == len(bases) - 1
            try:
                answer = self._tried(partial(self._http.request, method, url + path, headers=headers), last)
            except httpx2.TransportError as error:
                if "CERTIFICATE_VERIFY_FAILED" in str(error):  # it speaks TLS, so without would only confuse it
                    raise RegistryError(
                        f"the registry's certificate is not trusted: {error}", where=ref.host,
                        hint="Name the PEM file of its authority: registry: {type: oci, ca-file: PATH}.",
                    ) from None  # fmt: skip
                if not last:
                    continue
                raise RegistryError(
                    f"the registry does not answer: {error}", where=ref.host,
                    hint="Check the name and the network." + ("" if ref.host in self._insecure or ref.is_loopback else
                         " A registry without TLS must be named under registry.insecure."), retryable=True,
                ) from None  # fmt: skip
            self._bases[ref.host] = url
            return answer
        raise AssertionError("unreachable")

    def _tried(self, send: Callable[[], httpx2.Response], patient: bool) -> httpx2.Response:
        """Send, and again after a fault that may pass."""
        for attempt in range(_TRIES - 1 if patient else 0):
            try:
                answer = send()
                if answer.status_code not in (429, 500, 502, 503, 504):
                    return answer
            except httpx2.TransportError:
                pass
            time.sleep(_PAUSE * 2**attempt)
        return send()

    def _check(self, answer: httpx2.Response, ref: ImageRef) -> None:
        status = answer.status_code
        if status < 300:
            return
        if status in (401, 403):
            user = self._credentials(ref).username
            raise RegistryError(
                f"the registry refused the credentials of {user!r}" if user else "the registry wants credentials",
                where=str(ref),
                hint="Set registry: {type: oci, uri, username, password: env/NAME} for the agent, or docker login.",
            )
        raise RegistryError(
            f"the registry answered {status}: {_reason(answer)}",
            where=str(ref),
            retryable=status == 429 or status >= 500,
        )

    # -- sign-in ---------------------------------------------------------------------------------------------

    def _sign_in(self, answer: httpx2.Response, ref: ImageRef, scope: str) -> tuple[str, float]:
        """The Authorization header that a challenge asks for, and for how many seconds; empty if we have none."""
        credentials = self._credentials(ref)
        for challenge in answer.headers.get_list("WWW-Authenticate"):
            kind, _, rest = challenge.partition(" ")
            facts = {m[0].lower(): m[1] or m[2] for m in _PARAMETER.findall(rest)}
            if kind.lower() == "bearer" and facts.get("realm"):
                return self._fetch_token(facts, credentials, ref, scope or facts.get("scope", ""))
            if kind.lower() == "basic" and credentials.username and credentials.username != IDENTITY_TOKEN:
                pair = httpx2.BasicAuth(credentials.username, credentials.password)
                request = next(pair.sync_auth_flow(httpx2.Request("GET", "https://x")))
                return request.headers["Authorization"], 600.0
        return "", 0.0

    def _fetch_token(
        self, facts: Mapping[str, str], credentials: Credentials, ref: ImageRef, scope: str
    ) -> tuple[str, float]:
        realm = facts["realm"]
        parts = urlsplit(realm)
        host = ImageRef(host=parts.netloc.rpartition("@")[2], path="x")
        if parts.scheme != "https" and not (parts.scheme == "http" and self._may_be_plain(host)):
            raise RegistryError(
                f"the registry sends us to {realm} to sign in, which is not safe", where=str(ref),
                hint="Name the host under registry.insecure if that is meant.",
            )  # fmt: skip
        query = {"service": facts.get("service", ""), "scope": scope}
        wanted = {key: value for key, value in query.items() if value}
        try:
            if credentials.username == IDENTITY_TOKEN:
                form = {**wanted, "grant_type": "refresh_token", "client_id": "windlass",
                        "refresh_token": credentials.password}  # fmt: skip
                answer = self._tried(lambda: self._http.post(realm, data=form), True)
            else:
                auth = (credentials.username, credentials.password) if credentials.username else None
                answer = self._tried(lambda: self._http.get(realm, params=wanted, auth=auth), True)
        except httpx2.TransportError as error:
            raise RegistryError(f"the token service does not answer: {error}", where=realm, retryable=True) from None
        if answer.status_code in (400, 401, 403):
            return "", 0.0
        self._check(answer, ref)
        try:
            data = answer.json()
            token = str(data.get("token") or data.get("access_token") or "")
            seconds = float(data.get("expires_in") or 60)
        except (ValueError, TypeError, AttributeError):
            raise RegistryError("the token service's answer cannot be read", where=realm) from None
        return (f"Bearer {token}" if token else ""), max(seconds * 0.9 - 5, 1.0)

    def _may_be_plain(self, ref: ImageRef) -> bool:
        return ref.is_loopback or ref.host in self._insecure


def _verification(ca_file: str) -> Any:
    import ssl

    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise RegistryError(
                f"the certificates in {ca_file} cannot be read: {error}",
                where="$.registry.ca-file",
                hint="Give a PEM file.",
            ) from None
    return context


def _reason(answer: httpx2.Response) -> str:
    try:
        errors = answer.json()["errors"]
        return "; ".join(str(error.get("message") or error.get("code")) for error in errors)[:300]
    except (ValueError, KeyError, TypeError, AttributeError, httpx2.ResponseNotRead):
        return answer.reason_phrase
