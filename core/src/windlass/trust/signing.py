"""Detached signatures over artifact versions, as JSON documents.

::

    {"kind": "windlass.signature", "version": 1, "algorithm": "ed25519", "key": "sha256:…",
     "statement": {"statement": "windlass.artifact/1", "entity": …, "project": …, "name": …, "type": …,
                   "digest": "blake3:…", "manifest": "blake3:…", "facts": {…}, "signed_at": 1767225600},
     "signature": "<base64>"}
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import asdict, frozen

from windlass.errors import AccessError, IntegrityError, UsageError
from windlass.trust.keys import SigningKey, VerifyKey
from windlass.trust.statement import STATEMENT, Subject, make_statement, signed_bytes

__all__ = ["KIND", "Verified", "is_signature", "sign", "verify"]

KIND = "windlass.signature"
VERSION = 1


@frozen(kw_only=True)
class Verified:
    """A signature that holds.

    Attributes:
        key: The key it was made with.
        facts: What else was signed.
        signed_at: Seconds since the epoch, as the signer's clock had it.
    """

    key: VerifyKey
    facts: dict[str, str]
    signed_at: int


def sign(
    subject: Subject,
    key: SigningKey,
    *,
    facts: Mapping[str, str] | None = None,
    clock: Callable[[], float] = time.time,
) -> dict[str, Any]:
    """Sign a version.

    Args:
        subject: What to sign; `Subject.of` makes it from a version.
        key: The private key.
        facts: More texts to sign.
        clock: Seconds since the epoch.

    Returns:
        The signature document, to be kept with the version (`VersionUpdate.add_signatures`).
    """
    statement = make_statement(subject, facts=facts or {}, signed_at=int(clock()))
    return {
        "kind": KIND,
        "version": VERSION,
        "algorithm": "ed25519",
        "key": key.id,
        "statement": statement,
        "signature": base64.b64encode(key.sign(signed_bytes(statement))).decode(),
    }


def is_signature(document: Any) -> bool:
    """Whether a document is one of ours, of a version that is understood here."""
    return isinstance(document, Mapping) and document.get("kind") == KIND and document.get("version") == VERSION


def verify(document: Any, subject: Subject, trusted: Iterable[VerifyKey]) -> Verified:
    """Check a signature document against a version.

    Raises:
        UsageError: Not a signature document of a known version.
        AccessError: The key is not trusted, or not for this entity.
        IntegrityError: The document was changed, or is for another version.
    """
    if not is_signature(document):
        raise UsageError("not a signature document", hint=f"Only {KIND} version {VERSION} is understood.")
    keys = {key.id: key for key in trusted}
    key = keys.get(str(document.get("key")))
    if key is None:
        raise AccessError(
            f"the signature is of the key {document.get('key')}, which is not trusted",
            hint="Add its public key to trusted-keys in trust.yaml, if you know whose it is.",
        )
    statement, signature = document.get("statement"), _signature(document)
    if document.get("algorithm") != "ed25519" or not isinstance(statement, Mapping) or signature is None:
        raise _broken(key, "it is not complete")
    try:
        data = signed_bytes(statement)
    except UsageError as error:
        raise _broken(key, error.message) from None
    if not key.verifies(signature, data):
        raise _broken(key, "the signature does not fit its statement")
    _check_subject(statement, subject, key)
    if key.entities and subject.entity not in key.entities:
        raise AccessError(
            f"the key '{key.name or key.id}' may not sign for the entity {subject.entity}",
            hint="Add the entity to the key's entities in trust.yaml.",
        )
    facts, signed_at = statement.get("facts"), statement.get("signed_at")
    return Verified(
        key=key,
        facts=dict(facts) if isinstance(facts, Mapping) else {},
        signed_at=signed_at if isinstance(signed_at, int) else 0,
    )


def _signature(document: Mapping[str, Any]) -> bytes | None:
    try:
        return base64.b64decode(str(document.get("signature")), validate=True)
    except (binascii.Error, ValueError):
        return None


def _check_subject(statement: Mapping[str, Any], subject: Subject, key: VerifyKey) -> None:
    if statement.get("statement") != STATEMENT:
        raise _broken(key, f"it signs a {statement.get('statement')!r}, not an artifact")
    for part, expected in asdict(subject).items():
        if statement.get(part) != expected:
            raise IntegrityError(
                f"the signature of '{key.name or key.id}' is for another artifact: "
                f"{part} is {statement.get(part)!r} there, and {expected!r} here",
                where=f"{subject.entity}/{subject.project}/{subject.name}",
                hint="The content or the signature was changed, or a signature was copied. Do not use this version.",
            )


def _broken(key: VerifyKey, reason: str) -> IntegrityError:
    return IntegrityError(
        f"the signature of '{key.name or key.id}' is broken: {reason}",
        hint="The signature was changed. Do not use this version before you know why.",
    )
