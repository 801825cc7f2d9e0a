"""What may be loaded."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from msgspec.structs import replace

from windlass.errors import AccessError, ConfigError, IntegrityError, UnsupportedError
from windlass.models.artifact import ArtifactVersion
from windlass.plugins.types import SerializerPlugin
from windlass.trust import TrustConfig, check_may_load, load_policy
from windlass.trust.keys import SigningKey, generate_key
from windlass.trust.signing import sign
from windlass.trust.statement import Subject


def plugin(name: str, executes_code: bool) -> SerializerPlugin[Any]:
    return SerializerPlugin(
        name=name,
        summary="",
        config=dict,
        create=lambda config, context: None,  # type: ignore[arg-type,return-value]
        media_type="x/y",
        extensions=(".x",),
        executes_code=executes_code,
    )


PICKLE, NUMPY = plugin("pickle", True), plugin("numpy", False)
VERSION = ArtifactVersion(
    id="1", entity="team", project="p", name="model", type="model", version=3, digest="blake3:aa", manifest="blake3:bb"
)


def check(version: ArtifactVersion = VERSION, **kwargs: Any) -> str:
    kwargs = {"policy": TrustConfig(), "own_entity": "me", **kwargs}
    return check_may_load(version, kwargs.pop("serializer", PICKLE), **kwargs).reason


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return generate_key(tmp_path / "keys" / "ci.pem")


@pytest.fixture
def policy(tmp_path: Path, key: SigningKey) -> TrustConfig:
    (tmp_path / "trust.yaml").write_text(
        "require-signature: true\n"
        "trusted-entities: team\n"
        "trusted-keys:\n"
        "  - name: ci\n"
        "    public-key: keys/ci.pem.pub\n"
        "    entities: [team]\n"
    )
    return load_policy(tmp_path)


def signed(key: SigningKey, version: ArtifactVersion = VERSION) -> ArtifactVersion:
    return replace(version, signatures=(*version.signatures, sign(Subject.of(version), key)))


def test_data_may_always_be_read(policy: TrustConfig) -> None:
    assert check(serializer=NUMPY) == "data-only"
    assert check(serializer=NUMPY, policy=policy) == "data-only"


def test_by_entity_or_by_hand() -> None:
    with pytest.raises(AccessError, match="'team' is not trusted") as caught:
        check()
    assert "windlass artifact scan team/p/model:v3" in caught.value.hint
    assert caught.value.where == "team/p/model:v3"
    assert check(own_entity="team") == "own-entity"
    assert check(policy=TrustConfig(trusted_entities=("team",))) == "trusted-entity"
    assert check(allow=True) == "allowed"
    with pytest.raises(AccessError):
        check(own_entity="team", policy=TrustConfig(trust_own_entity=False))
    with pytest.raises(AccessError):
        check(replace(VERSION, entity=""), own_entity="")


def test_a_required_signature_cannot_be_waived(policy: TrustConfig, key: SigningKey) -> None:
    for kwargs in ({}, {"own_entity": "team"}, {"allow": True}):
        with pytest.raises(AccessError, match="requires a signature"):
            check(policy=policy, **kwargs)
    permit = check_may_load(signed(key), PICKLE, policy=policy, own_entity="me")
    assert (permit.reason, permit.key) == ("signed", "ci")


def test_a_signature_makes_a_stranger_trusted(policy: TrustConfig, key: SigningKey) -> None:
    relaxed = evolve(policy, require_signature=False, trusted_entities=())
    assert check(signed(key), policy=relaxed) == "signed"
    with pytest.raises(AccessError):
        check(policy=relaxed)


def test_keys_sign_for_their_entities_only(policy: TrustConfig, key: SigningKey) -> None:
    with pytest.raises(AccessError, match="requires a signature"):
        check(signed(key, replace(VERSION, entity="other")), policy=policy)


def test_a_broken_signature_is_refused_whatever_else_holds(policy: TrustConfig, key: SigningKey) -> None:
    relaxed = evolve(policy, require_signature=False)
    moved = replace(signed(key), digest="blake3:cc")
    good_and_bad = replace(signed(key, replace(VERSION, digest="blake3:cc")), digest="blake3:aa")
    for version in (moved, signed(key, good_and_bad)):
        with pytest.raises(IntegrityError, match="another artifact"):
            check(version, policy=relaxed, own_entity="team", allow=True)
    for document in ("text", None, {"kind": "windlass.signature"}):
        with pytest.raises(IntegrityError, match="not well formed"):
            check(replace(VERSION, signatures=(document,)), policy=relaxed, own_entity="team")


def test_unknown_signatures_prove_nothing(policy: TrustConfig, key: SigningKey, tmp_path: Path) -> None:
    stranger = generate_key(tmp_path / "stranger.pem")
    other_tool = {"kind": "sigstore.bundle", "content": "…"}
    newer = {**sign(Subject.of(VERSION), key), "version": 2}
    version = replace(signed(stranger), signatures=(*signed(stranger).signatures, other_tool, newer))
    with pytest.raises(AccessError, match="requires a signature"):
        check(version, policy=policy)
    assert check(signed(key, version), policy=policy) == "signed"


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert load_policy(tmp_path) == TrustConfig()


def test_problems_of_the_file_are_named_with_their_lines(tmp_path: Path) -> None:
    (tmp_path / "trust.yaml").write_text("require-signatures: true\ntrusted-keys:\n  - name: ci\n")
    with pytest.raises(ConfigError) as caught:
        load_policy(tmp_path)
    text = str(caught.value)
    assert "did you mean 'require-signature'" in text
    assert "public" in text
    assert "trust.yaml:1" in text


def test_a_key_that_cannot_be_read_is_no_permit(policy: TrustConfig, key: SigningKey, tmp_path: Path) -> None:
    version = signed(key)
    (tmp_path / "keys" / "ci.pem.pub").unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        check(version, policy=policy, allow=True)


def test_keys_may_be_written_into_the_file(tmp_path: Path, key: SigningKey) -> None:
    pem = "".join(f"      {line}\n" for line in key.public().pem().splitlines())
    (tmp_path / "trust.yaml").write_text(f"trusted-keys:\n  - name: ci\n    public-key: |\n{pem}")
    assert check(signed(key), policy=load_policy(tmp_path)) == "signed"


def test_cryptography_is_asked_for_only_when_it_matters(
    policy: TrustConfig, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = signed(key)
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    assert check(own_entity="team") == "own-entity"
    with pytest.raises(UnsupportedError, match="cryptography"):
        check(version, policy=policy)


@pytest.mark.parametrize("target", ["not-mounted/trust.yaml", "trust.yaml"], ids=["nowhere", "itself"])
def test_a_link_that_leads_nowhere_is_not_taken_for_no_policy(tmp_path: Path, target: str) -> None:
    (tmp_path / "trust.yaml").symlink_to(tmp_path / target)
    with pytest.raises(ConfigError, match=r"trust\.yaml"):
        load_policy(tmp_path)
