"""``windlass artifact``, as people type it."""

from __future__ import annotations

import json
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from windlass_cli.main import run

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def windlass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    monkeypatch.setenv("WINDLASS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WINDLASS_ENTITY", "ann")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("WINDLASS_PROJECT", "WINDLASS_BASE_URL", "WINDLASS_CACHE_DIR", "WINDLASS_ALLOW_CODE"):
        monkeypatch.delenv(name, raising=False)
    work = tmp_path / "work"
    (work / "data" / "sub").mkdir(parents=True)
    (work / "data" / "a.txt").write_text("one")
    (work / "data" / "sub" / "b.txt").write_text("two")
    monkeypatch.chdir(work)

    def call(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(["artifact", *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def parsed(result: tuple[int, str, str]) -> Any:
    code, out, err = result
    assert code == 0, err
    return json.loads(out)


def test_put_and_get(windlass: Call, tmp_path: Path) -> None:
    code, out, err = windlass("put", "--name", "demo/data", "--type", "dataset", "data")
    assert (code, err) == (0, "")  # silent in pipes
    assert out.startswith("ann/demo/data:v0  6 B in 2 files  blake3:")
    again = parsed(windlass("put", "-n", "demo/data", "data", "-a", "best", "--json"))
    assert (again["version"], again["aliases"]) == ("v0", ["best", "latest"])
    root = tmp_path / "out"
    assert windlass("get", "demo/data:best", "--root", str(root)) == (0, f"{root}\n", "")
    assert (root / "sub" / "b.txt").read_text() == "two"
    (root / "extra").touch()
    assert windlass("get", "demo/data", "--root", str(root), "--checkout")[0] == 0
    assert not (root / "extra").exists()
    part = tmp_path / "part"
    assert windlass("get", "demo/data", "--root", str(part), "--path-prefix", "sub")[0] == 0
    assert [p.name for p in part.rglob("*.txt")] == ["b.txt"]
    assert windlass("get", "demo/data", "--checkout", "--include", "*")[0] == 2
    before = set(Path.cwd().rglob("*"))
    for flag in ("--path-prefix", "--include"):
        assert windlass("get", "demo/data", flag, "wrong")[0] == 1
    assert windlass("get", "demo/data", "--exclude", "*")[0] == 1
    assert set(Path.cwd().rglob("*")) == before, "nothing is left behind"


def test_what_a_version_says(windlass: Call) -> None:
    Path("facts.yaml").write_text("rows: 3\n")
    made = parsed(
        windlass(
            "put", "data", "-n", "demo/data", "-d", "for people", "--metadata", "facts.yaml", "--tag", "x", "--ttl",
            "2d", "--json",
        )
    )  # fmt: skip
    assert (made["description"], made["metadata"], made["tags"]) == ("for people", {"rows": 3}, ["x"])
    assert made["ttl_seconds"] == 172800
    shown = parsed(windlass("show", "demo/data", "--json"))
    assert [file["path"] for file in shown["files"]] == ["a.txt", "sub/b.txt"]
    assert "for people" in windlass("show", "demo/data")[1]
    assert windlass("put", "data", "--ttl", "soon")[0] == 2


def test_incremental(windlass: Call) -> None:
    windlass("put", "data", "-n", "demo/data")
    Path("c.txt").write_text("three")
    assert parsed(windlass("put", "c.txt", "-n", "demo/data", "--incremental", "--json"))["entries"] == 3
    assert parsed(windlass("diff", "demo/data:v0", "demo/data:v1", "--json")) == {
        "added": ["c.txt"],
        "removed": [],
        "changed": [],
        "metadata": {},
    }
    Path("c.txt").write_text("four")
    windlass("put", "c.txt", "-n", "demo/data", "--incremental", "--metadata", '{"accuracy": 0.5}')
    assert parsed(windlass("diff", "demo/data:v1", "demo/data:v2", "--json"))["metadata"] == {"accuracy": [None, 0.5]}
    assert re.search(r"~ +metadata accuracy +null +0\.5", windlass("diff", "demo/data:v1", "demo/data:v2")[1])


def test_links_in_a_directory(windlass: Call) -> None:
    Path("data/link").symlink_to("a.txt")
    code, out, err = windlass("put", "data", "-n", "demo/data")
    assert (code, out) == (2, "")
    assert "data/link: it is a symbolic link to a.txt" in err
    assert "--symlinks follow" in err
    assert parsed(windlass("put", "data", "-n", "demo/data", "--symlinks", "skip", "--json"))["entries"] == 2
    assert parsed(windlass("put", "data", "-n", "demo/data", "--symlinks", "follow", "--json"))["entries"] == 3
    Path("here").symlink_to("data")  # who names a link means what it leads to
    assert parsed(windlass("put", "here", "-n", "demo/data", "--exclude", "link", "--json"))["version"] == "v0"
    Path("data/link").unlink()
    os.mkfifo("data/pipe")
    assert "data/pipe: it is a FIFO" in windlass("put", "data", "-n", "demo/data")[2]


def test_what_cannot_be_put_or_got(windlass: Call) -> None:
    code, _, err = windlass("put", "data", "-n", "demo/data", "--include", "*.nope")
    assert (code, "nothing in the directory 'data' is taken" in err) == (2, True)
    windlass("put", "data/a.txt", "-n", "demo/data")
    code, _, err = windlass("get", "demo/data", "--root", "data/a.txt")
    assert (code, "there is a file of that name" in err, "Give another folder" in err) == (2, True, True)
    code, _, err = windlass("get", "demo/data", "--root", "out", "--path-prefix", "none")
    assert (code, "nothing at or below 'none'" in err) == (1, True)
    assert not Path("out").exists()


def test_metadata_as_people_give_it(windlass: Call) -> None:
    Path("facts.json").write_text('{"loss": NaN}')
    for index, given in enumerate(('{"loss": NaN}', "facts.json", "{loss: .nan}")):
        made = parsed(windlass("put", "data", "-n", f"demo/data{index}", "--metadata", given, "--json"))
        assert made["metadata"] == {"loss": None}
    for given, said in (("[1]", "expected a mapping"), ('{"a": ', "--metadata:1"), ('{"a": Infinity}', "$.metadata.a")):
        code, _, err = windlass("put", "data", "-n", "demo/data", "--metadata", given)
        assert (code, said in err) == (2, True)


def test_references(windlass: Call, tmp_path: Path) -> None:
    folder = (tmp_path / "work" / "data").as_uri()
    made = parsed(windlass("put", folder, "-n", "demo/refs", "--json"))
    assert made["entries"] == 2
    assert parsed(windlass("put", folder, "-n", "demo/refs", "--json"))["version"] == "v0"
    shown = parsed(windlass("show", "demo/refs", "--json"))
    assert shown["files"][0]["ref"] == f"{folder}/a.txt"
    code, _, err = windlass("put", folder, "-n", "demo/refs", "--max-objects", "1")
    assert code == 2
    assert "max_objects=10" in err
    Path("data/a.txt").unlink()
    root = str(tmp_path / "out")
    assert windlass("get", "demo/refs", "--root", root)[0] != 0
    code, out, err = windlass("get", "demo/refs", "--root", root, "--allow-missing")
    assert (code, out) == (0, f"{root}\n")
    assert err == f"missing: a.txt ({folder}/a.txt)\n"


def test_verify_names_all_damage(windlass: Call, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        Path("data", f"{name}.bin").write_bytes(name.encode() * 200_000)
    windlass("put", "data", "-n", "demo/data")
    code, out, _ = windlass("verify", "demo/data")
    assert (code, "5 entries" in out) == (0, True)
    whole = [p for p in (tmp_path / "home" / "blobs").rglob("*") if p.is_file() and p.stat().st_size == 200_000]
    for blob in whole[:2]:
        blob.chmod(0o644)
        blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    whole[2].unlink()
    code, out, err = windlass("verify", "demo/data")
    assert (code, out) == (1, "")
    assert all(f"'{name}.bin'" in err for name in ("a", "b", "c"))
    assert "3 of 5 entries are damaged" in err
    code, out, _ = windlass("verify", "demo/data", "--json")
    assert (code, json.loads(out)["ok"], len(json.loads(out)["problems"])) == (1, False, 3)

    code, out, err = windlass("repair", "demo/data")
    assert (code, out) == (1, "ann/demo/data:v0: 0 of 5 blobs were restored\n")
    assert all(f"still damaged: {name}.bin\n" in err for name in ("a", "b", "c"))
    assert "--from PATH" in err
    code, out, _ = windlass("repair", "demo/data", "--from", "data", "--json")
    found = json.loads(out)
    assert (code, found["blobs"], len(found["restored"]), found["lost"]) == (0, 5, 3, {})
    assert windlass("verify", "demo/data")[0] == 0
    assert windlass("repair", "demo/data")[1] == "ann/demo/data:v0: all 5 blobs are whole\n"
    assert "no 'nowhere'" in windlass("repair", "demo/data", "--from", "nowhere")[2]


def test_verify_a_directory(windlass: Call) -> None:
    windlass("put", "data", "-n", "demo/data")
    assert windlass("verify", "demo/data", "--root", "data")[0] == 0
    Path("data/a.txt").write_text("two")
    code, _, err = windlass("verify", "demo/data", "--root", "data")
    assert code != 0
    assert "different: 'a.txt'" in err


def test_rm_restore_and_gc(windlass: Call) -> None:
    windlass("put", "data", "-n", "demo/data")
    Path("data/a.txt").write_text("changed")
    windlass("put", "data", "-n", "demo/data", "-a", "best")
    assert windlass("rm", "demo/data:best")[0] != 0  # it has an alias
    assert windlass("rm", "demo/data:v0", "demo/data:best", "--force") == (
        0,
        "",
        "Deleted ann/demo/data:v0.\nDeleted ann/demo/data:v1.\n",
    )
    code, _, err = windlass("get", "demo/data")
    assert (code, "windlass artifact restore ann/demo/data:v1" in err) == (1, True)
    assert [item["version"] for item in parsed(windlass("ls", "demo", "--deleted", "--json"))] == ["v1", "v0"]
    assert windlass("restore", "demo/data:v1")[1] == "Restored ann/demo/data:v1.\n"
    code, _, err = windlass("restore", "demo/data:v7")
    assert code != 0
    assert "Deleted versions of it: v0" in err
    dry = parsed(windlass("gc", "--dry-run", "--undelete", "0", "--grace", "-1", "--json"))
    assert (dry["dry_run"], dry["freed_blobs"]) == (True, 1)  # the pack still holds b.txt
    assert windlass("gc", "--undelete", "0", "--grace", "-1")[0] == 0
    assert windlass("restore", "demo/data:v0")[0] != 0
    assert windlass("verify", "demo/data:v1")[0] == 0


def test_a_collection_is_listed_by_its_whole_path(windlass: Call) -> None:
    windlass("put", "data", "-n", "demo/data")
    windlass("put", "data/a.txt", "-n", "demo/other")
    found = parsed(windlass("ls", "ann/demo/data", "--json"))
    assert [(item["name"], item["version"]) for item in found] == [("data", "v0")]
    code, out, err = windlass("ls", "demo/data")  # an entity and a project
    assert (code, out, "no artifacts in demo/data." in err) == (0, "", True)
    assert "windlass artifact ls ann/demo/data" in err
    code, out, err = windlass("ls", "demo/data", "--json")
    assert (code, out.strip(), "windlass artifact ls ann/demo/data" in err) == (0, "[]", True)
    assert "artifact ls" not in windlass("ls", "demo/nothing")[2]
    assert "no artifacts in ann/demo/nothing." in windlass("ls", "ann/demo/nothing")[2]
    assert windlass("ls", "ann/any project")[0] == 0
    assert "names a version" in windlass("ls", "ann/demo/data:v0")[2]
    assert windlass("ls", "a/b/c/d")[0] == windlass("ls", "ann//data")[0] == 2


def test_labels(windlass: Call) -> None:
    windlass("put", "data", "-n", "demo/data", "-a", "best")
    Path("data/a.txt").write_text("changed")
    windlass("put", "data", "-n", "demo/data")
    moved = parsed(windlass("label", "demo/data:v1", "--alias", "best", "--tag", "checked", "-d", "newer", "--json"))
    assert (moved["aliases"], moved["tags"], moved["description"]) == (["best", "latest"], ["checked"], "newer")
    assert parsed(windlass("show", "demo/data:v0", "--json"))["aliases"] == []
    code, out, _ = windlass("label", "demo/data:best", "--remove-tag", "checked", "--remove-alias", "best")
    assert (code, out) == (0, "ann/demo/data:v1  aliases: latest  tags: -\n")
    assert "nothing to change" in windlass("label", "demo/data")[2]
    assert "version number" in windlass("label", "demo/data", "--alias", "v7")[2]


def test_a_version_of_another_collection_too(windlass: Call) -> None:
    windlass("put", "data", "--name", "demo/data")
    code, out, _ = windlass("link", "demo/data", "registry/production", "--alias", "stable")
    assert (code, out) == (0, "ann/registry/production:v0  aliases: latest, stable\n")
    assert windlass("rm", "demo/data", "--force")[0] == 0
    assert windlass("gc", "--undelete", "0", "--grace", "0")[0] == 0
    assert "all as recorded" in windlass("verify", "registry/production:stable")[1]
    code, out, _ = windlass("link", "registry/production", "ann/other/name", "--json")
    assert (json.loads(out)["version"], json.loads(out)["aliases"]) == ("v0", ["latest"])
    code, out, err = windlass("link", "registry/production", "other:v3")
    assert (code, "names a version" in err, "Write 'other'" in err) == (2, True, True)


def test_protected_aliases(windlass: Call) -> None:
    windlass("put", "data", "-n", "demo/data", "-a", "production")
    assert parsed(windlass("protect", "demo/data", "production", "gold", "--json")) == {
        "path": "ann/demo/data",
        "protected_aliases": ["production", "gold"],
    }
    code, _, err = windlass("rm", "demo/data:production", "--force")
    assert (code, "protected" in err) == (1, True)
    assert windlass("protect", "demo/data", "production", "--remove")[1] == "ann/demo/data  protected: gold\n"
    assert windlass("rm", "demo/data:production", "--force")[0] == 0
    assert windlass("protect", "demo/none", "x")[0] == 1


def test_lineage(windlass: Call) -> None:
    import windlass as sdk

    windlass("put", "data", "-n", "demo/data")
    with sdk.init(project="demo", name="train") as trained:
        trained.use_artifact("data:v0")
        trained.log_artifact("data/a.txt", name="model", type="model")
    code, out, _ = windlass("lineage", "demo/model")
    assert code == 0
    lines = [line.split("  ")[0] for line in out.splitlines()]
    assert lines[0] == "ann/demo/model:v0"
    assert "made by train" in out
    assert "from ann/demo/data:v0" in out
    tree = parsed(windlass("lineage", "demo/data", "--json"))
    assert tree["down"]["children"][0]["children"][0]["name"] == "ann/demo/model:v0"
    assert [edge["kind"] for edge in tree["edges"]] == ["input"]
    events = [json.loads(line) for line in windlass("lineage", "demo/model", "--openlineage")[1].splitlines()]
    assert [(e["inputs"][0]["name"], e["outputs"][0]["name"]) for e in events] == [("data", "model")]
    windlass("rm", "demo/data:v0")
    windlass("gc", "--undelete", "0", "--grace", "0")
    assert "from ann/demo/data:v0  collected" in windlass("lineage", "demo/model")[1]
    (event,) = (json.loads(line) for line in windlass("lineage", "demo/model", "--openlineage")[1].splitlines())
    (given,) = event["inputs"]
    assert (given["namespace"], given["name"]) == ("windlass://ann/demo", "data")
    assert given["facets"]["version"]["datasetVersion"] == "v0"


def test_sign_and_verify(windlass: Call, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    key = str(tmp_path / "keys" / "mine.pem")
    code, out, _ = windlass("keygen", key)
    assert code == 0
    assert windlass("keygen", key)[0] != 0  # never overwritten
    windlass("put", "data", "-n", "demo/data")
    code, _, err = windlass("verify", "demo/data", "--signed")
    assert code != 0
    assert "no valid signature" in err
    assert windlass("sign", "demo/data", "--key", key)[0] == 0
    assert windlass("verify", "demo/data", "--signed")[0] != 0  # nobody trusts the key yet
    (tmp_path / "home" / "trust.yaml").write_text(out[out.index("trusted-keys:") :])
    assert "signed by ann" in windlass("verify", "demo/data", "--signed")[1]
    windlass("sign", "demo/data", "--key", key)
    assert len(parsed(windlass("show", "demo/data", "--json"))["signatures"]) == 1


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("true",)


def test_scan(windlass: Call) -> None:
    Path("data/bad.pkl").write_bytes(pickle.dumps(Evil()))
    windlass("put", "data", "-n", "demo/data")
    for target in ("data", "demo/data"):
        code, out, _ = windlass("scan", target)
        assert code == 1
        assert "dangerous" in out
        assert "bad.pkl" in out
    code, out, _ = windlass("scan", "demo/data", "--json")
    assert (code, json.loads(out)["verdict"]) == (1, "dangerous")
    Path("data/bad.pkl").write_bytes(pickle.dumps([1]))
    assert windlass("scan", "data")[0] == 0


@pytest.mark.parametrize("word", ["clean", "cleanup"])
def test_cache(windlass: Call, tmp_path: Path, word: str) -> None:
    Path("data/large").write_bytes(bytes(200_000))
    windlass("put", "data", "-n", "demo/data")
    windlass("get", "demo/data", "--root", str(tmp_path / "out"), "--link", "hard")
    found = parsed(windlass("cache", "info", "--json"))
    assert (found["files"], found["size"]) == (3, 200_006)
    assert parsed(windlass("cache", word, "100", "--json"))["size"] <= 100
    assert (tmp_path / "out" / "large").stat().st_size == 200_000


def test_the_cache_needs_no_store(windlass: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk none can be opened."""
    monkeypatch.setenv("WINDLASS_BASE_URL", "sqlite:////dev/null/store.db")
    assert parsed(windlass("cache", "info", "--json"))["files"] == 0
    assert not Path(parsed(windlass("cache", "info", "--json"))["path"]).exists(), "asking makes nothing"
    assert parsed(windlass("cache", "clean", "--json"))["removed"] == 0
    monkeypatch.setenv("WINDLASS_CACHE_DIR", "/proc/none")
    code, _, err = windlass("cache", "clean")
    assert (code, "WINDLASS_CACHE_DIR" in err) == (1, True)


def test_nothing_is_deleted_when_one_of_several_is_not_there(windlass: Call) -> None:
    for _ in range(2):
        windlass("put", "--name", "demo/data", "data")
        Path("data/a.txt").write_text("other")
    code, _, err = windlass("rm", "demo/data:v0", "demo/data:v9")
    assert (code, "v9" in err) == (1, True)
    assert parsed(windlass("show", "demo/data:v0", "--json"))["version"] == "v0"


@pytest.mark.parametrize(
    "words", [["--exclude", "a*", "file:///tmp"], ["--include", "a*", "data/a.txt"], ["--no-checksum", "data"]]
)
def test_flags_that_would_be_overlooked_are_refused(windlass: Call, words: list[str]) -> None:
    code, _, err = windlass("put", "--name", "demo/data", *words)
    assert (code, words[0] in err, "it is for a" in err) == (2, True, True)


@pytest.mark.parametrize("name", ["/data", "demo//data", "a/b/c/d"])
def test_names_with_empty_parts(windlass: Call, name: str) -> None:
    code, _, err = windlass("put", "--name", name, "data")
    assert (code, "does not name an artifact" in err) == (2, True)
