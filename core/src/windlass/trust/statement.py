"""What a signature says, and the exact bytes that are signed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from windlass.errors import UsageError
from windlass.models.artifact import ArtifactVersion, NewVersion

__all__ = ["Subject", "canonical", "make_statement", "signed_bytes"]

STATEMENT = "windlass.artifact/1"
_PAYLOAD_TYPE = b"application/vnd.windlass.artifact.v1+json"


@frozen(kw_only=True)
class Subject:
    """What is signed, and the name it goes by, so that a signature fits no other artifact.

    The digest covers paths and bytes; the manifest's covers what is recorded about them, too: without it, who can write
    to the store but has no key could have signed bytes read by another serializer.
    """

    entity: str
    project: str
    name: str
    type: str
    digest: str
    manifest: str

    @classmethod
    def of(cls, version: ArtifactVersion | NewVersion) -> Subject:
        """The subject that is a version."""
        return cls(
            entity=version.entity,
            project=version.project,
            name=version.name,
            type=version.type,
            digest=version.digest,
            manifest=version.manifest,
        )


def make_statement(subject: Subject, *, facts: Mapping[str, str], signed_at: int) -> dict[str, Any]:
    """The statement as JSON.

    Args:
        subject: What is signed.
        facts: More texts to sign (the serializer, the commit …).
        signed_at: Seconds since the epoch.

    Raises:
        UsageError: A fact is no text, or the subject has no digest.
    """
    if not subject.digest.partition(":")[2]:
        raise UsageError("only a version that has a digest can be signed", hint="Log the artifact first.")
    for key, value in facts.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise UsageError(f"the fact {key!r} is no text", hint="Facts are texts; write numbers as texts.")
    return {
        "statement": STATEMENT,
        "entity": subject.entity,
        "project": subject.project,
        "name": subject.name,
        "type": subject.type,
        "digest": subject.digest,
        "manifest": subject.manifest,
        "facts": dict(facts),
        "signed_at": signed_at,
    }


def canonical(statement: Mapping[str, Any]) -> bytes:
    """The one spelling of a statement: keys in order, no spaces, ASCII with escapes. Statements hold no fractions."""
    return json.dumps(_checked(statement), sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def signed_bytes(statement: Mapping[str, Any]) -> bytes:
    """The bytes under the signature: DSSE's encoding, so that it can never be taken for something else's signature."""
    body = canonical(statement)
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE, len(body), body)


def _checked(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _checked(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_checked(item) for item in value]
    if value is None or isinstance(value, (str, int)):
        return value
    raise UsageError(f"a statement cannot hold a {type(value).__name__}")
