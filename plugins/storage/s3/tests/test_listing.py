"""Pages of a listing as stores write them, without a store."""

from __future__ import annotations

import pytest

from windlass.storage import ObjectInfo
from windlass_storage_s3 import listing
from windlass_storage_s3.addresses import parse

WHERE = parse("s3://b/d/")
ENTRY = (
    "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
    "<ETag>{quote}{tag}{quote}</ETag>{more}<Size>3</Size><StorageClass>STANDARD</StorageClass></Contents>"
)
KEYS = {"d/a+b%26c": "d/a b&c", "d/&#37;41": "d/A", "d/folder/": "d/folder/", "d/folder/x": "d/folder/x"}


def answer(entries: str, monkeypatch: pytest.MonkeyPatch) -> None:
    body = (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><IsTruncated>false</IsTruncated>'
        f"{entries}<EncodingType>url</EncodingType></ListBucketResult>"
    )
    monkeypatch.setattr(listing, "_get", lambda *_, **__: body.encode())


def page(entries: str, monkeypatch: pytest.MonkeyPatch) -> list[ObjectInfo]:
    answer(entries, monkeypatch)
    return list(listing.list_objects(None, WHERE, False))  # type: ignore[arg-type]


@pytest.mark.parametrize("more", ["", "<ChecksumType>FULL_OBJECT</ChecksumType>"])
@pytest.mark.parametrize("quote", ["&quot;", "&#34;", "&#x22;", '"', ""])
def test_an_etag_is_without_its_quotes_however_they_are_written(
    quote: str, more: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = "".join(ENTRY.format(key=key, quote=quote, tag=f"{n}-1", more=more) for n, key in enumerate(KEYS))
    found = page(entries, monkeypatch)
    assert [info.uri for info in found] == [f"s3://b/{key}" for key in KEYS.values() if not key.endswith("/")]
    assert [info.etag for info in found] == ["0-1", "1-1", "3-1"]
    assert {(info.size, info.mtime) for info in found} == {(3, 1767225600.0)}


def test_entries_of_one_page_may_be_written_in_several_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = ENTRY.format(key="d/a", quote="&quot;", tag="1", more="")
    other = "<Contents><Size>3</Size><Key>d/b</Key><ETag>2</ETag></Contents>"
    found = page(usual + other, monkeypatch)
    assert [(info.uri, info.etag) for info in found] == [("s3://b/d/a", "1"), ("s3://b/d/b", "2")]


@pytest.mark.parametrize("upto", ["", "d", "d/a", "d/b", "d/c d", "d/c e", "d/z"])
def test_keys_behind_the_wanted_ones_are_left_out(upto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {"d/a": "d/a", "d/b": "d/b", "d/c+d": "d/c d", "d/c+e%2B": "d/c e+"}
    answer("".join(ENTRY.format(key=key, quote="&quot;", tag="1", more="") for key in keys), monkeypatch)
    found = listing._page(None, WHERE, "", "", upto)  # type: ignore[arg-type]
    assert found.keys == [key for key in keys.values() if not upto or key <= upto]
    assert [info.uri for info in found.items] == [f"s3://b/{key}" for key in found.keys]
    assert found.last == "d/c e+"
