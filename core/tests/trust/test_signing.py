"""Keys and signatures."""

from __future__ import annotations

import copy
import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from windlass.config.secrets import Secret, SecretResolver
from windlass.errors import (
    AccessError,
    ConfigError,
    ConflictError,
    IntegrityError,
    NotFoundError,
    SecretError,
    UnsupportedError,
    UsageError,
)
from windlass.trust.keys import SigningKey, generate_key, load_signing_key, load_verify_key
from windlass.trust.signing import sign, verify
from windlass.trust.statement import Subject, canonical, signed_bytes

SUBJECT = Subject(
    entity="team", project="p", name="model", type="model", digest="blake3:" + "ab" * 32, manifest="blake3:" + "cd" * 32
)


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return generate_key(tmp_path / "keys" / "ci.pem")


def test_a_key_pair_is_private_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "ci.pem"
    made = generate_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert load_signing_key(path).id == made.id == load_verify_key(f"{path}.pub").id
    before = path.read_bytes()
    with pytest.raises(ConflictError):
        generate_key(path)
    assert path.read_bytes() == before
    assert "PRIVATE" not in repr(made)


def test_half_a_pair_is_not_left_behind(tmp_path: Path) -> None:
    (tmp_path / "ci.pem.pub").write_text("something")
    with pytest.raises(ConflictError):
        generate_key(tmp_path / "ci.pem")
    assert not (tmp_path / "ci.pem").exists()


def test_keys_from_secrets_and_with_passphrases(tmp_path: Path) -> None:
    path = tmp_path / "ci.pem"
    made = generate_key(path, passphrase=Secret("horse"))
    assert load_signing_key(path, passphrase=Secret("horse")).id == made.id
    for wrong in (None, Secret("donkey")):
        with pytest.raises(ConfigError) as caught:
            load_signing_key(path, passphrase=wrong)
        assert "donkey" not in str(caught.value)
    secrets = SecretResolver({"KEY": path.read_text()})
    assert load_signing_key("env/KEY", secrets=secrets, passphrase=Secret("horse")).id == made.id
    with pytest.raises(SecretError):
        load_signing_key("env/OTHER", secrets=secrets)


def test_keys_that_others_can_read_are_refused(tmp_path: Path, key: SigningKey) -> None:
    path = tmp_path / "keys" / "ci.pem"
    path.chmod(0o640)
    with pytest.raises(AccessError, match="others can read") as caught:
        load_signing_key(path)
    assert "chmod 600" in caught.value.hint
    with pytest.raises(NotFoundError) as missing:
        load_signing_key(tmp_path / "none.pem")
    assert "windlass artifact keygen" in missing.value.hint


def test_keys_of_other_kinds_are_refused(tmp_path: Path, key: SigningKey) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    other = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "ec.pem"
    path.touch(0o600)
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ConfigError, match="not an Ed25519"):
        load_signing_key(path)
    public = other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    with pytest.raises(ConfigError, match="not an Ed25519"):
        load_verify_key(public)
    path.write_text("garbage")
    with pytest.raises(ConfigError, match="not a readable private key"):
        load_signing_key(path)
    with pytest.raises(ConfigError, match="not a readable public key"):
        load_verify_key(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_verify_key(tmp_path / "none.pub")


def test_a_signature_holds_through_json(key: SigningKey) -> None:
    document = sign(SUBJECT, key, facts={"serializer": "pickle", "ünïcode": "✓"}, clock=lambda: 1_700_000_000.9)
    verified = verify(json.loads(json.dumps(document)), SUBJECT, [key.public(name="ci")])
    assert verified.key.name == "ci"
    assert verified.facts == {"serializer": "pickle", "ünïcode": "✓"}
    assert verified.signed_at == 1_700_000_000


def test_the_signed_bytes_are_as_documented() -> None:
    """A vector: another implementation must come to the same bytes."""
    statement = {"name": "a\u00e9", "digest": "blake3:00", "signed_at": 5, "facts": {"b": "2", "a": "1"}}
    body = rb'{"digest":"blake3:00","facts":{"a":"1","b":"2"},"name":"a\u00e9","signed_at":5}'
    assert canonical(statement) == body
    head = b"DSSEv1 41 application/vnd.windlass.artifact.v1+json "
    assert signed_bytes(statement) == head + str(len(body)).encode() + b" " + body
    with pytest.raises(UsageError):
        canonical({"x": 0.5})


@pytest.mark.parametrize("part", ["entity", "project", "name", "type", "digest", "manifest"])
def test_a_signature_fits_no_other_artifact(key: SigningKey, part: str) -> None:
    other = evolve(SUBJECT, **{part: "other:other"})
    with pytest.raises(IntegrityError, match=f"{part} is"):
        verify(sign(SUBJECT, key), other, [key.public()])
    changed = sign(SUBJECT, key)
    changed["statement"][part] = "other:other"
    with pytest.raises(IntegrityError, match="does not fit its statement"):
        verify(changed, other, [key.public()])


def changes() -> list[Any]:
    def flip(d: dict[str, Any]) -> None:
        first = d["signature"][0]
        d["signature"] = ("A" if first != "A" else "B") + d["signature"][1:]

    return [
        flip,
        lambda d: d.update(signature="not base64!"),
        lambda d: d.update(signature=""),
        lambda d: d.pop("signature"),
        lambda d: d.pop("statement"),
        lambda d: d.update(algorithm="none"),
        lambda d: d["statement"].update(signed_at=0),
        lambda d: d["statement"].update(extra="x"),
        lambda d: d["statement"].update(fraction=0.5),
        lambda d: d["statement"]["facts"].update(serializer="pickle"),
    ]


@pytest.mark.parametrize("number", range(len(changes())))
def test_a_changed_document_is_refused(key: SigningKey, number: int) -> None:
    document = copy.deepcopy(sign(SUBJECT, key, facts={"serializer": "numpy"}))
    changes()[number](document)
    with pytest.raises(IntegrityError, match="broken"):
        verify(document, SUBJECT, [key.public()])


def test_only_trusted_keys_count(tmp_path: Path, key: SigningKey) -> None:
    document = sign(SUBJECT, key)
    stranger = generate_key(tmp_path / "stranger.pem").public()
    with pytest.raises(AccessError, match="not trusted"):
        verify(document, SUBJECT, [stranger])
    with pytest.raises(AccessError, match="may not sign for"):
        verify(document, SUBJECT, [key.public(entities=("other",))])
    with pytest.raises(UsageError):
        verify({"kind": "other"}, SUBJECT, [stranger])
    with pytest.raises(UsageError):
        sign(SUBJECT, key, facts={"n": 5})  # type: ignore[dict-item]
    with pytest.raises(UsageError):
        sign(evolve(SUBJECT, digest=""), key)


def test_without_cryptography(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    with pytest.raises(UnsupportedError) as caught:
        generate_key(tmp_path / "k")
    assert "windlass-core[signing]" in caught.value.hint


def test_importing_the_room_is_light() -> None:
    code = (
        "import sys, windlass.trust, windlass.trust.signing, windlass.trust.scan\n"
        "heavy = {'cryptography', 'fickling', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
