"""Ed25519 keys in PEM files that stay in the user's own system."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from attrs import field, frozen

from windlass.config.secrets import Secret, SecretResolver, names_secret
from windlass.errors import AccessError, ConfigError, ConflictError, NotFoundError, UnsupportedError, UsageError

__all__ = ["SigningKey", "VerifyKey", "generate_key", "load_signing_key", "load_verify_key"]


@frozen(kw_only=True)
class VerifyKey:
    """A public key.

    Attributes:
        id: Its fingerprint, ``sha256:<hex>`` over the 32 bytes of the key.
        name: What its owner is called in messages.
        entities: Entities whose artifacts it may sign; empty: all.
    """

    id: str
    name: str = ""
    entities: tuple[str, ...] = ()
    _key: Any = field(eq=False, repr=False)

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether `signature` was made over `data` with the private half."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._key.verify(signature, data)
        except InvalidSignature:
            return False
        return True

    def pem(self) -> str:
        """The key as a PEM text."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return str(self._key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


@frozen(kw_only=True)
class SigningKey:
    """A private key; `repr` shows its fingerprint only."""

    id: str
    _key: Any = field(eq=False, repr=False)

    def sign(self, data: bytes) -> bytes:
        """The 64 bytes of the signature."""
        return bytes(self._key.sign(data))

    def public(self, *, name: str = "", entities: tuple[str, ...] = ()) -> VerifyKey:
        """The public half."""
        return VerifyKey(id=self.id, name=name, entities=entities, key=self._key.public_key())


def generate_key(path: str | Path, *, passphrase: Secret | None = None) -> SigningKey:
    """Make a key pair: the private half at `path` (mode 0600), the public half at `path` + ``.pub``.

    Args:
        path: Where to; missing directories are made with mode 0700.
        passphrase: Encrypts the private half.

    Raises:
        ConflictError: There is a file already; nothing is overwritten.
        UnsupportedError: The package cryptography is not installed.
    """
    serialization, ed25519 = _crypto()
    path = Path(path).expanduser()
    key = ed25519.Ed25519PrivateKey.generate()
    encryption: Any = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase.reveal().encode())
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = SigningKey(id=_fingerprint(key.public_key()), key=key)
    _create(path, private, 0o600)
    try:
        _create(path.with_name(f"{path.name}.pub"), made.public().pem().encode(), 0o644)
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise
    return made


def load_signing_key(
    source: str | Path, *, secrets: SecretResolver | None = None, passphrase: Secret | None = None
) -> SigningKey:
    """Read a private key.

    Args:
        source: A path, or a secret reference (``env/NAME``, ``file/PATH``, ``keyring/SERVICE/USER``) to PEM text.
        secrets: Resolves references.
        passphrase: For an encrypted key.

    Raises:
        AccessError: Others can read the file.
        ConfigError: Not an Ed25519 private key, or a wrong passphrase. Never shows the key.
        SecretError, NotFoundError, UnsupportedError: No such secret, no such file, cryptography is not installed.
    """
    serialization, ed25519 = _crypto()
    if isinstance(source, str) and names_secret(source):
        data = (secrets or SecretResolver()).resolve(source).reveal().encode()
    else:
        data = _read_private(Path(source).expanduser())
    password = passphrase.reveal().encode() if passphrase is not None else None
    try:
        key = serialization.load_pem_private_key(data, password)
    except Exception as error:
        # The library's words are about the format and the passphrase, never about the content.
        raise ConfigError(
            f"not a readable private key: {type(error).__name__}: {error}",
            where=str(source),
            hint="Give an Ed25519 key in PEM, and its passphrase if it has one.",
        ) from None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise ConfigError(
            "this is not an Ed25519 key", where=str(source), hint="Make one: windlass artifact keygen FILE"
        )
    return SigningKey(id=_fingerprint(key.public_key()), key=key)


def load_verify_key(
    source: str | Path, *, name: str = "", entities: tuple[str, ...] = (), where: str = ""
) -> VerifyKey:
    """Read a public key from a PEM text or from a file.

    Raises:
        ConfigError: Missing, or not an Ed25519 public key.
        UnsupportedError: The package cryptography is not installed.
    """
    serialization, ed25519 = _crypto()
    text = str(source)
    place = where or (name if text.startswith("-----") else text)
    try:
        data = text.encode() if text.startswith("-----") else Path(text).expanduser().read_bytes()
        key = serialization.load_pem_public_key(data)
    except OSError as error:
        raise ConfigError(f"the public key cannot be read: {error.strerror}", where=place) from None
    except Exception as error:
        raise ConfigError(
            f"not a readable public key: {type(error).__name__}", where=place, hint="Give the .pub file of a key pair."
        ) from None
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise ConfigError("this is not an Ed25519 public key", where=place, hint="Give the .pub file of a key pair.")
    return VerifyKey(id=_fingerprint(key), name=name, entities=entities, key=key)


def _crypto() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise UnsupportedError(
            "signatures need the package cryptography", hint="pip install 'windlass-core[signing]'"
        ) from None
    return serialization, ed25519


def _fingerprint(public: Any) -> str:
    import hashlib

    return f"sha256:{hashlib.sha256(public.public_bytes_raw()).hexdigest()}"


def _create(path: Path, data: bytes, mode: int) -> None:
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise ConflictError(f"{path} exists already", hint="Choose another path; keys are never overwritten.") from None
    except OSError as error:
        raise UsageError(f"the key cannot be written: {error.strerror}", where=str(path)) from None
    with os.fdopen(number, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _read_private(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            # On Windows the mode says nothing about who can read.
            if os.name == "posix" and os.fstat(file.fileno()).st_mode & 0o077:
                raise AccessError("others can read this private key", where=str(path), hint=f"chmod 600 {path}")
            return file.read()
    except FileNotFoundError:
        raise NotFoundError(f"there is no key at {path}", hint="Make one: windlass artifact keygen FILE") from None
    except OSError as error:
        raise AccessError(f"the key cannot be read: {error.strerror}", where=str(path)) from None
