import base64
import hashlib
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.artifacts.digest import (
    algorithm_of,
    artifact_digest,
    digest_of,
    facts_of,
    hash_stream,
    interchange_digest,
    interchange_file_digest,
)
from windlass.artifacts.manifest import Entry
from windlass.errors import IntegrityError, UsageError

HELLO = "XUFAKrxLKna5cZ2REBfFkg=="
NESTED = {
    "file1.txt": HELLO,
    "nest/file2.txt": "aGTzidmHZDa8h3j/Bx0bbA==",
    "nest/nest/file3.txt": "E7c+2uhEOZC+GqjxpIO8Jw==",
}


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({}, "64e7c61456b10382e2f3b571ac24b659"),
        ({"file1.txt": HELLO}, "a00c2239f036fb656c1dcbf9a32d89b4"),
        ({"great-file.txt": HELLO}, "585b9ada17797e37c9cbab391e69b8c5"),
        ({"subdir/file1.txt": HELLO}, "a757208d042e8627b2970d72a71bed5b"),
        (NESTED, "72414374bfd4b0f60a116e7267845f71"),
        ({f"top/{path}": digest for path, digest in NESTED.items()}, "f718baf2d4c910dc6ccd0d9c586fa00f"),
        ({"file1.txt": "abc"}, "48237ccc050a88af9dcd869dd5a7e9f4"),
        ({"ref": "ref://example.com/somefile.txt"}, "410ade94865e89ebe1f593f4379ac228"),
        ({"my_object.pb": "1234567890abcde"}, "8aec0d6978da8c2b0bf5662b3fd043a4"),
    ],
)
def test_interchange_golden_vectors(entries: dict[str, str], expected: str) -> None:
    assert interchange_digest(entries.items()) == expected


def test_interchange_file_digest() -> None:
    assert interchange_file_digest(io.BytesIO(b"hello")) == HELLO


def test_golden_artifact_digests() -> None:
    assert artifact_digest([]) == digest_of(b"windlass-artifact-v1\n")
    entries = [Entry("a", "sha256:" + "1" * 64, 0), Entry("b", "blake3:" + "0" * 64, 0)]
    plain = b"windlass-artifact-v1\na\0sha256:" + b"1" * 64 + b"\nb\0blake3:" + b"0" * 64 + b"\n"
    assert artifact_digest(entries) == digest_of(plain)
    assert artifact_digest(entries, "sha256") == "sha256:" + hashlib.sha256(plain).hexdigest()


def test_paths_come_in_order() -> None:
    with pytest.raises(ValueError, match="order of their paths"):
        artifact_digest([Entry("b", "1", 0), Entry("a", "2", 0)])


@given(st.binary(max_size=5000))
def test_streams_and_buffers_agree(data: bytes) -> None:
    for algorithm in ("blake3", "sha256"):
        assert hash_stream(io.BytesIO(data), algorithm) == (digest_of(data, algorithm), len(data))
    assert digest_of(data, "sha256") == "sha256:" + hashlib.sha256(data).hexdigest()


def test_unknown_algorithms() -> None:
    with pytest.raises(UsageError, match="blake3"):
        hash_stream(io.BytesIO(b""), "crc32")
    for bad in ("", "blake3:", "blake3:xyz", "md5:" + "0" * 32, "blake3:" + "G" * 64, "blake3:../" + "0" * 61):
        with pytest.raises(IntegrityError):
            algorithm_of(bad)


def test_base64_is_what_the_vectors_hold() -> None:
    assert base64.b64encode(hashlib.md5(b"hello").digest()).decode() == HELLO


@given(st.text(st.characters(exclude_categories=["Cs"])), st.floats(allow_nan=False, allow_infinity=False))
def test_facts_as_they_are_documented(text: str, number: float) -> None:
    def documented(facts: object) -> bytes:
        return json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    ref = f"s3://b/{text}"
    assert facts_of(ref, {"etag": "1", "mtime": number}) == documented({"ref": ref})
    record = {"serializer": text, "parameters": {"b": number, "a": [text]}, "versions": {"json": "1"}, "python": "3"}
    kept = {"parameters": {"a": [text], "b": number}, "serializer": text}
    assert facts_of("", {"object": record}) == documented({"object": kept})
    assert facts_of("", {"checksum": "x"}) == facts_of("", None) == b""
