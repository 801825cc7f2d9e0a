"""The policy in ``<home>/trust.yaml``: what may be loaded by serializers that run code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from windlass.config import option
from windlass.errors import AccessError, IntegrityError
from windlass.models.artifact import ArtifactVersion

if TYPE_CHECKING:
    from windlass.plugins.types import SerializerPlugin
    from windlass.trust.keys import VerifyKey

__all__ = ["Permit", "TrustConfig", "TrustedKey", "check_may_load", "load_policy", "policy_path", "signer_of"]


@frozen(kw_only=True)
class TrustedKey:
    """A public key whose signatures count."""

    name: str = option(help="Whose key it is; shown in messages.")
    public_key: str = option(help="The .pub file, relative to trust.yaml, or the PEM text itself.", key="public-key")
    entities: tuple[str, ...] = option(help="Entities whose artifacts it may sign; empty: all.", factory=tuple)


@frozen(kw_only=True)
class TrustConfig:
    """What ``trust.yaml`` may say."""

    require_signature: bool = option(
        help="Load nothing that runs code without a valid signature of a trusted key, whoever made it.",
        default=False,
        key="require-signature",
    )
    trusted_entities: tuple[str, ...] = option(
        help="Entities whose artifacts may be loaded though that runs code.", factory=tuple, key="trusted-entities"
    )
    trust_own_entity: bool = option(
        help="Treat the entity this process works for as trusted.", default=True, key="trust-own-entity"
    )
    trusted_keys: tuple[TrustedKey, ...] = option(
        help="Keys whose signatures make an artifact trusted.", factory=tuple, key="trusted-keys"
    )
    scan_allow: tuple[str, ...] = option(
        help="Names the scanner allows beside its own list: module.name, or module.* for all of one module.",
        factory=tuple,
        key="scan-allow",
    )

    def keys(self) -> tuple[VerifyKey, ...]:
        """The trusted keys, read. Raises `ConfigError` or `UnsupportedError`."""
        from windlass.trust.keys import load_verify_key

        return tuple(
            load_verify_key(key.public_key, name=key.name, entities=key.entities, where=f"trusted key '{key.name}'")
            for key in self.trusted_keys
        )


@frozen(kw_only=True)
class Permit:
    """Why something may be loaded, for logs.

    Attributes:
        reason: ``data-only``, ``signed``, ``own-entity``, ``trusted-entity`` or ``allowed``.
        key: Name of the key, when it is signed.
    """

    reason: str
    key: str = ""


def policy_path(home: Path) -> Path:
    """Where the policy lies."""
    return home / "trust.yaml"


def load_policy(home: Path) -> TrustConfig:
    """Read the policy of a home; the defaults if there is none.

    Raises:
        ConfigError: With every problem of the file.
    """
    from windlass.config.converter import structure
    from windlass.config.document import load

    path = policy_path(home)
    if not os.path.lexists(path):  # a link that leads nowhere is a policy that is missing, not one that allows
        return TrustConfig()
    document = load(path)
    config = structure(document.data, TrustConfig, document=document)
    keys = tuple(
        key if key.public_key.startswith("-----") else evolve(key, public_key=str(path.parent / key.public_key))
        for key in config.trusted_keys
    )
    return evolve(config, trusted_keys=keys)


def check_may_load(
    version: ArtifactVersion,
    serializer: SerializerPlugin[Any],
    *,
    policy: TrustConfig,
    own_entity: str,
    allow: bool = False,
) -> Permit:
    """Decide whether a serializer may read a version. To be called before it gets the first byte.

    Serializers that run no code may read anything. Others may read what a trusted key has signed; without a signature,
    and only when the policy does not require one, what own or trusted entities have made (all that content of it was
    taken over from), and what the caller allows.
    A broken signature of a trusted key is refused whatever else holds.

    Args:
        version: What is to be read; its digest has been checked, or is checked while it is read.
        serializer: Descriptor of the serializer that the version's record names.
        policy: See `load_policy`.
        own_entity: Entity this process works for.
        allow: The user has allowed it for this call (``allow_code=True``, ``WINDLASS_ALLOW_CODE=1``).

    Raises:
        AccessError: It may not.
        IntegrityError: A signature is broken, or is for another artifact.
        ConfigError, UnsupportedError: A trusted key cannot be read, or cryptography is not installed.
    """
    if not serializer.executes_code:
        return Permit(reason="data-only")
    signer = signer_of(version, policy)
    if signer is not None:
        return Permit(reason="signed", key=signer.name or signer.id)
    facts = {"entity": version.entity, "serializer": serializer.name, "signatures": len(version.signatures)}
    if policy.require_signature:
        raise AccessError(
            f"the policy requires a signature before '{serializer.name}' may run the code in this artifact, "
            "and it has none of a trusted key",
            where=version.path,
            hint="Have its maker sign it (windlass artifact sign), and list the public key under trusted-keys in "
            "trust.yaml.",
            context=facts,
        )
    own = {own_entity} - {""} if policy.trust_own_entity else set()
    makers = {version.entity, *version.origins}
    if makers <= own:
        return Permit(reason="own-entity")
    strangers = sorted(makers - own - set(policy.trusted_entities))
    if not strangers:
        return Permit(reason="trusted-entity")
    if allow:
        return Permit(reason="allowed")
    stranger = strangers[0]
    raise AccessError(
        f"reading with '{serializer.name}' runs code that the artifact names, and "
        + (
            f"its entity '{stranger}' is not trusted"
            if stranger == version.entity
            else f"content of it came from the entity '{stranger}', which is not trusted"
        ),
        where=version.path,
        hint=f"Look into it first (windlass artifact scan {version.path}); then allow it for this call "
        f"(allow_code=True) or process (WINDLASS_ALLOW_CODE=1), or add '{stranger}' to trusted-entities in "
        "trust.yaml.",
        context=facts,
    )


def signer_of(version: ArtifactVersion, policy: TrustConfig, *, required: bool = False) -> VerifyKey | None:
    """The trusted key that has signed a version, if one has.

    Args:
        version: What is signed.
        policy: Names the trusted keys.
        required: None is an error.

    Raises:
        AccessError: No trusted key has signed it, and one is required.
        IntegrityError: A signature of a trusted key is broken, or is for another artifact.
    """
    signer = _signer(version, policy)
    if signer is None and required:
        raise AccessError(
            "it has no valid signature of a trusted key",
            where=version.path,
            hint="Have its maker sign it (windlass artifact sign), and list the public key under trusted-keys in "
            "trust.yaml.",
            context={"signatures": len(version.signatures), "trusted_keys": len(policy.trusted_keys)},
        )
    return signer


def _signer(version: ArtifactVersion, policy: TrustConfig) -> VerifyKey | None:
    from windlass.trust.signing import KIND, is_signature, verify
    from windlass.trust.statement import Subject

    if not version.signatures or not policy.trusted_keys:
        return None
    keys = policy.keys()
    known = {key.id for key in keys}
    signer: VerifyKey | None = None
    for document in version.signatures:
        if not isinstance(document, dict) or (document.get("kind") == KIND and "key" not in document):
            raise IntegrityError(
                "a signature of this artifact is not well formed",
                where=version.path,
                hint="The metadata store was changed. Do not use this version before you know why.",
            )
        # Signatures of other tools, and of keys nobody here knows, prove nothing and disprove nothing.
        if is_signature(document) and document["key"] in known:
            try:
                signer = verify(document, Subject.of(version), keys).key
            except AccessError:
                continue  # a trusted key, but not for this entity
    return signer
