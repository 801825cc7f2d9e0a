"""Requests to Google Cloud Storage's JSON API, signed by google-auth."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from windlass.errors import (
    AccessError,
    ConfigError,
    NoSpaceError,
    ObjectChangedError,
    ObjectNotFoundError,
    StorageError,
    UnsupportedError,
    WindlassError,
)
from windlass.plugins.types import Context
from windlass_storage_gcs.config import GcsConfig

__all__ = ["Client", "fsspec_options", "object_path"]

_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_GOOGLE = "https://storage.googleapis.com"
CREDENTIALS_HINT = (
    "Credentials are looked for in GOOGLE_APPLICATION_CREDENTIALS, "
    "~/.config/gcloud/application_default_credentials.json (gcloud auth application-default login), "
    "then workload identity and the metadata server; or configure "
    "`environment: {type: gcp}`."
)


def object_path(bucket: str, name: str) -> str:
    """Path of an object's resource."""
    return f"/storage/v1/b/{quote(bucket, safe='')}/o/{quote(name, safe='')}"


def endpoint_url(config: GcsConfig) -> str:
    """Address of the API."""
    url = config.endpoint_url or os.environ.get("STORAGE_EMULATOR_HOST") or _GOOGLE
    return (url if "://" in url else f"http://{url}").rstrip("/")


class Client:
    """One connection pool and one set of credentials. Serves several threads."""

    def __init__(self, config: GcsConfig, context: Context) -> None:
        self._config, self._context = config, context
        self.url = endpoint_url(config)
        self._lock = threading.RLock()
        self._http: Any = None
        self._credentials: Any = None

    def credentials(self) -> Any:
        """Google credentials: the config's, the environment's, else the default ones."""
        with self._lock:
            if self._credentials is None:
                self._credentials = self._find()
            return self._credentials

    def _find(self) -> Any:
        import google.auth
        from google.auth.credentials import AnonymousCredentials
        from google.auth.exceptions import GoogleAuthError

        emulated = self.url != _GOOGLE and not os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
        environment = self._context.environment
        try:
            if self._config.anonymous:
                return AnonymousCredentials()
            if self._config.credentials:
                text = self._context.secrets.resolve(self._config.credentials, where="$.credentials").reveal()
                return google.auth.load_credentials_from_dict(json.loads(text), scopes=[_SCOPE])[0]
            if environment is not None:
                try:
                    return environment.google_credentials()
                except UnsupportedError:
                    pass  # an agent of another cloud may still have Google credentials
            if emulated:
                return AnonymousCredentials()
            return google.auth.default(scopes=[_SCOPE])[0]
        except GoogleAuthError as error:
            raise AccessError(str(error).partition("\n")[0], where="gs://", hint=CREDENTIALS_HINT) from error
        except ValueError:
            raise ConfigError(
                "not the JSON of Google credentials", where=self._context.place("$.credentials")
            ) from None

    def pool(self) -> Any:
        """The connection pool."""
        with self._lock:
            if self._http is None:
                import urllib3

                retries = urllib3.Retry(
                    5,
                    redirect=False,
                    backoff_factor=0.2,
                    backoff_jitter=0.2,
                    status_forcelist=(408, 429, 500, 502, 503, 504),
                    allowed_methods=None,
                    raise_on_status=False,
                )
                timeout = urllib3.Timeout(connect=10, read=60)
                self._http = urllib3.PoolManager(maxsize=64, retries=retries, timeout=timeout)
            return self._http

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        where: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        good: tuple[int, ...] = (200, 204, 206),
        stream: bool = False,
        retry: bool = True,
    ) -> Any:
        """One request; the urllib3 response.

        Args:
            method: HTTP method.
            path: Path, or a whole address.
            query: Parameters; empty ones are left out.
            where: Object it is about, for messages.
            body: What is sent.
            headers: More headers.
            good: Statuses that are no failure.
            stream: Leave the body to be read by the caller.
            retry: Try again on faults of network and server; not for bodies that depend on what came before.

        Raises:
            StorageError, AccessError: As `failure` says.
        """
        import urllib3
        from google.auth.exceptions import GoogleAuthError, TransportError
        from google.auth.transport.urllib3 import Request

        url = path if path.startswith("http") else self.url + path
        parameters = {name: value for name, value in (query or {}).items() if value}
        if self._config.project:
            parameters["userProject"] = self._config.project
        if parameters:
            url += f"?{urlencode(parameters, quote_via=quote)}"
        sent = dict(headers or {})
        extra: dict[str, Any] = {} if retry else {"retries": False}
        try:
            credentials = self.credentials()
            with self._lock:  # google-auth renews without a lock of its own
                credentials.before_request(Request(self.pool()), method, url, sent)
            answer = self.pool().request(method, url, body=body, headers=sent, preload_content=not stream, **extra)
        except TransportError as error:
            raise StorageError(f"Google's sign-in is not reachable: {error}", where=where, retryable=True) from error
        except GoogleAuthError as error:
            raise AccessError(str(error).partition("\n")[0], where=where, hint=CREDENTIALS_HINT) from error
        except urllib3.exceptions.HTTPError as error:
            raise StorageError(f"{type(error).__name__}: {error}", where=where, retryable=True) from error
        if answer.status not in good:
            raise failure(answer.status, answer.data, where)
        return answer

    def close(self) -> None:
        """Give back connections. May be repeated."""
        with self._lock:
            if self._http is not None:
                self._http.clear()
            self._http = self._credentials = None


def failure(status: int, body: bytes, where: str) -> WindlassError:
    """The error for a refusal."""
    try:
        message = str(msgspec.json.decode(body)["error"]["message"])
    except (msgspec.DecodeError, KeyError, TypeError, IndexError):
        message = body[:200].decode("utf-8", "replace").strip()
    text = f"the store answered {status}" + (f": {message}" if message else "")
    facts = {"status": status}
    if status == 404:
        gone = "bucket" in message.lower() and "object" not in message.lower()
        what, hint = ("bucket", "Correct the address, or create the bucket.") if gone else ("object", "")
        return ObjectNotFoundError(f"there is no such {what}", where=where, hint=hint, context={**facts, "code": what})
    if status == 412:
        return ObjectChangedError("the object is not the one that was recorded", where=where, context=facts)
    if status in (401, 403):
        full = "quota" in message.lower() or "billing" in message.lower()
        if full:
            return NoSpaceError(text, where=where, hint="Look at the project's quota and billing.", context=facts)
        return AccessError(text, where=where, hint=CREDENTIALS_HINT, context=facts)
    if status == 507:
        return NoSpaceError(text, where=where, hint="Free space or raise the quota of the store.", context=facts)
    damaged = status == 400 and "crc32c" in message.lower()
    later = status >= 500 or status in (408, 429) or damaged
    hint = "Try again later; what is stored already is not sent again." if later else ""
    return StorageError(text, where=where, hint=hint, context=facts, retryable=later)


def fsspec_options(config: GcsConfig, context: Context) -> dict[str, Any]:
    """Options of ``gcsfs.GCSFileSystem`` for the same store and credentials."""
    client = Client(config, context)
    from google.auth.credentials import AnonymousCredentials

    credentials = client.credentials()
    options: dict[str, Any] = {"token": "anon" if isinstance(credentials, AnonymousCredentials) else credentials}
    options |= {"version_aware": True}
    if client.url != _GOOGLE:
        options["endpoint_url"] = client.url
    if config.project:
        options |= {"project": config.project, "requester_pays": config.project}
    return options
