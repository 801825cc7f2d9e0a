"""What a URI means, and that nothing in it becomes an option or a command."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.errors import UsageError
from windlass.launch.uris import UriKind, check_ref, classify, resolve_relative


@pytest.mark.parametrize(
    ("uri", "protocol", "host"),
    [
        ("https://github.com/org/repo.git", "https", "github.com"),
        ("https://gitlab.example.com:8443/a/b/c", "https", "gitlab.example.com"),
        ("https://user@example.com/repo", "https", "example.com"),
        ("ssh://git@example.com:2222/srv/repo.git", "ssh", "example.com"),
        ("git@github.com:org/repo.git", "ssh", "github.com"),
        ("host.example:path/to/repo", "ssh", "host.example"),
        ("git+https://example.com/repo", "https", "example.com"),
        ("file:///srv/repo.git", "file", ""),
    ],
)
def test_git_remotes(uri, protocol, host, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = classify(uri)
    assert (found.kind, found.protocol, found.host) == (UriKind.GIT, protocol, host)
    assert found.remote == uri.removeprefix("git+")


@pytest.mark.parametrize("name", ["digits", "gitlab-clone", "my.github.com", "bitbucket"])
def test_an_existing_directory_wins(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    assert classify(name).kind is UriKind.DIRECTORY
    assert classify(".").path == tmp_path.resolve()


def test_a_script(tmp_path):
    (tmp_path / "train.py").write_text("")
    assert classify(str(tmp_path / "train.py")).kind is UriKind.FILE


HOSTILE = [
    "",
    "-",
    "--upload-pack=touch /tmp/x",
    "-oProxyCommand=x",
    "ext::sh -c touch% /tmp/x",
    "fd::17",
    "foo::bar",
    "https://",
    "https:///x",
    "https://host",
    "https://host/",
    "https://-host/x",
    "https://host/-x",
    "https://h/a b",
    "ssh://-oProxyCommand=x/y",
    "ssh://-x@host/y",
    "ssh://host/$(x)",
    "ssh://host/a;b",
    "ssh://host/`x`",
    "ssh://h/a'b",
    "-x@host:path",
    "host:-path",
    "git@host:--upload-pack=x",
    "git@-host:x",
    "user@host:a b",
    "user@host:$(x)",
    "host::x",
    "http://host/x",
    "git://host/x",
    "ftp://host/x",
    "rsync://host/x",
    "javascript:alert(1)//",
    "file://host/x",
    "file://x",
    "https://user:password@host/x",
    "https://h/x#main",
    "https://h/x?y=1",
    "https://h:99999/x",
    "https://h:0/x",
    "https://[::1/x",
    "https://h/x\n",
    "https://h/\x00",
    "a\x1bb",
    "./none",
    "/none",
    "~/surely-none",
    "no such place",
    "nowhere",
    "https://h/%0a",
    "https://h/%24(x)",
]


@pytest.mark.parametrize("uri", HOSTILE)
def test_hostile_and_wrong_uris(uri, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        classify(uri)
    assert caught.value.where == "--uri"
    assert caught.value.hint


def test_a_password_is_not_repeated():
    with pytest.raises(UsageError) as caught:
        classify("https://user:hunter2@example.com/x")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("uri", ["file:///etc", ".", "/etc", ".."])
def test_paths_from_others_are_refused(uri):
    with pytest.raises(UsageError):
        classify(uri, local=False)


@given(st.text(max_size=80) | st.text(alphabet="-:/@.%[]ahtps~$;'", max_size=40))
def test_any_text_is_classified_or_refused(uri):
    try:
        found = classify(uri, local=False)
    except UsageError:
        return
    assert not found.remote.startswith("-")
    assert not found.host.startswith("-")
    assert found.protocol in ("https", "ssh")
    assert "::" not in found.remote.partition("[")[0]


@pytest.mark.parametrize(
    "ref", ["", "-x", "--all", "a..b", "a b", "a\nb", "@{u}", "a@{1}", "a:b", "a^", "~1", "x.lock", "/a"]
)
def test_refs_that_are_none(ref):
    with pytest.raises(UsageError):
        check_ref(ref)


@pytest.mark.parametrize("ref", ["main", "v1.0", "feature/x", "a" * 40, "release-2+1"])
def test_refs(ref):
    assert check_ref(ref) == ref


@pytest.mark.parametrize(
    ("parent", "url", "expected"),
    [
        ("https://h.example/a/b.git", "../c.git", "https://h.example/a/c.git"),
        ("https://h.example/a/b.git", "./c", "https://h.example/a/b.git/c"),
        ("git@h.example:a/b", "../c", "git@h.example:a/c"),
        ("https://h.example/a", "https://x.example/y", "https://x.example/y"),
    ],
)
def test_relative_submodules(parent, url, expected):
    assert resolve_relative(parent, url) == expected


def test_relative_submodule_out_of_the_host():
    with pytest.raises(UsageError):
        resolve_relative("https://h.example/a", "../../../x")
    assert os.sep == "/"
