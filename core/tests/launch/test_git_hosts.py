"""Git sources behind a real host: https with passwords, redirects, submodules, and mirrors that several agents use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from windlass.config.secrets import Secret
from windlass.errors import AccessError, ConfigError, NotFoundError, WindlassError
from windlass.launch.git import GitAccess, Mirror, resolve_commit
from windlass.launch.sources import fetch_source
from windlass.launch.uris import classify
from windlass.models.job import JobSource, SourceKind
from windlass_testkit.git_servers import GIT_PASSWORD, GIT_USER

pytestmark = pytest.mark.service("git", "nginx", "fcgiwrap")
SIGNED_IN = GitAccess(username=GIT_USER, token=Secret(GIT_PASSWORD, "env/T"))
WRONG = GitAccess(username=GIT_USER, token=Secret("wr0ng-canary", "env/T"))


def git(folder, *arguments) -> str:
    identity = {f"GIT_{who}_{what}": "t@t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    plain = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    return subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True,
        env={**os.environ, **identity, **plain},
    ).stdout.strip()  # fmt: skip


@pytest.fixture
def host(git_https, tmp_path, monkeypatch):
    """Publishes trees: `host.publish(name, {path: text}, submodules={path: (url, commit)})` gives the commit."""
    monkeypatch.setenv("HOME", str(tmp_path))  # whatever helpers the machine has, they do not sign in

    class Host:
        url, facts, served = git_https.facts["url"], git_https.facts, Path(git_https.folder)

        def publish(self, name, files=None, submodules=None, modules=None):
            bare, work = self.served / f"{name}.git", tmp_path / "work" / name
            if not bare.exists():
                bare.mkdir(parents=True)
                git(bare, "init", "-q", "--bare", "-b", "main")
                work.mkdir(parents=True)
                git(work, "init", "-q", "-b", "main")
            for path, text in (files or {}).items():
                (work / path).parent.mkdir(parents=True, exist_ok=True)
                (work / path).write_bytes(text.encode())
            lines = []
            for path, (url, commit) in (submodules or {}).items():
                lines.append(f'[submodule "{path}"]\n\tpath = {path}\n\turl = "{url}"\n')
                git(work, "update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
            if lines or modules:
                (work / ".gitmodules").write_text(modules or "".join(lines))
            git(work, "add", ".gitmodules") if lines or modules else None
            for path in files or {}:
                git(work, "add", path)
            git(work, "commit", "-q", "-m", "x")
            git(work, "push", "-q", "-f", str(bare), "main")
            return git(work, "rev-parse", "HEAD")

        def log(self):
            return Path(self.facts["log"]).read_text()

    return Host()


@pytest.fixture
def fetch(world, tmp_path):
    def run(remote, commit, name="out", access=SIGNED_IN):
        given = {"127.0.0.1": access} if access is not None else {}
        source = JobSource(kind=SourceKind.GIT, remote=remote, commit=commit)
        return fetch_source(
            source, tmp_path / name, engine=world.engine, cache_dir=tmp_path / "cache", access=given, note=notes.append
        )

    notes: list[str] = []
    run.notes = notes
    return run


def test_a_token_signs_in(host, fetch, tmp_path) -> None:
    commit = host.publish("job", {"job.py": "print(1)\n"})
    url = f"{host.url}/job.git"
    assert resolve_commit(classify(url), "main", tmp_path / "cache", SIGNED_IN) == commit
    assert (fetch(url, commit) / "job.py").read_text() == "print(1)\n"
    stored = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert stored
    assert not [path for path in stored if GIT_PASSWORD.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("access", "advice"),
    [(None, "git: {127.0.0.1: {token: {secret: env/NAME}}}"), (WRONG, "Check git.127.0.0.1.token")],
)
def test_one_clear_error_without_the_secret(host, fetch, tmp_path, access, advice) -> None:
    commit = host.publish("job", {"job.py": "print(1)\n"})
    url = f"{host.url}/job.git"
    for call in (lambda: fetch(url, commit, access=access),
                 lambda: resolve_commit(classify(url), "main", tmp_path / "cache", access)):  # fmt: skip
        with pytest.raises(AccessError) as caught:
            call()
        assert advice in caught.value.hint
        assert caught.value.where == url
        assert "canary" not in str(caught.value) + repr(caught.value)
        assert not caught.value.retryable


def test_the_users_own_helper_signs_in(host, tmp_path) -> None:
    commit = host.publish("job", {"job.py": "print(1)\n"})
    Path(tmp_path, ".gitconfig").write_text("[credential]\n\thelper = store\n")
    from urllib.parse import quote

    place = host.url.removeprefix("https://").partition("/")[0]
    Path(tmp_path, ".git-credentials").write_text(f"https://{GIT_USER}:{quote(GIT_PASSWORD, safe='')}@{place}\n")
    assert resolve_commit(classify(f"{host.url}/job.git"), "", tmp_path / "cache") == commit
    kept = Path(tmp_path, ".git-credentials").read_text()
    with pytest.raises(AccessError):
        resolve_commit(classify(f"{host.url}/job.git"), "", tmp_path / "cache", WRONG)
    assert Path(tmp_path, ".git-credentials").read_text() == kept, "a wrong token must not erase what a helper knows"


def test_a_token_does_not_follow_to_another_host(host, fetch) -> None:
    commit = host.publish("job", {"job.py": "print(1)\n"})
    assert (fetch(f"{host.facts['moved']}/job.git", commit) / "job.py").exists()
    followed = [line.split() for line in host.log().splitlines() if line.startswith("localhost:")]
    assert any("git-upload-pack" in words[1] for words in followed), "git was sent on"
    assert {words[2] for words in followed} == {"-"}


def test_a_repository_that_is_gone(host, fetch, tmp_path) -> None:
    commit = host.publish("job", {"job.py": "print(1)\n"})
    with pytest.raises(NotFoundError, match="not found") as caught:
        fetch(f"{host.url}/gone.git", commit)
    assert not caught.value.retryable
    with pytest.raises(NotFoundError):
        resolve_commit(classify(f"{host.url}/gone.git"), "main", tmp_path / "cache", SIGNED_IN)


def test_a_commit_that_no_branch_holds_any_more(host, fetch, tmp_path) -> None:
    first = host.publish("job", {"job.py": "print(1)\n"})
    old = host.publish("job", {"job.py": "print(2)\n"})
    git(tmp_path / "work" / "job", "reset", "-q", "--hard", first)
    host.publish("job", {"job.py": "print(3)\n"})
    target = fetch(f"{host.url}/job.git", old)
    assert (target / "job.py").read_text() == "print(2)\n"
    mirror = Mirror(classify(f"{host.url}/job.git"), tmp_path / "cache")
    assert (mirror.path / "shallow").read_text().split() == [old], "no history was fetched"


def test_submodules_are_fetched(host, fetch) -> None:
    deep = host.publish("libs/deep", {"deep.py": "D = 1\n"})
    lib = host.publish("libs/lib", {"lib.py": "L = 1\n"}, {"deep": ("../deep.git", deep)})
    other = host.publish("other", {"other.py": "O = 1\n"})
    commit = host.publish(
        "job", {"job.py": "print(1)\n"},
        {"vendor/lib": ("../libs/lib.git", lib), "other": (f"{host.url}/other.git", other)},
    )  # fmt: skip
    newer = host.publish("other", {"other.py": "O = 2\n"})
    assert newer != other
    target = fetch(f"{host.url}/job.git", commit)
    assert (target / "vendor/lib/lib.py").exists()
    assert (target / "vendor/lib/deep/deep.py").exists()
    assert (target / "other/other.py").read_text() == "O = 1\n", "the pinned commit, not the branch"
    assert not list(target.rglob(".git"))


def test_submodules_without_end(host, fetch) -> None:
    commit = host.publish("loop", {"x": "0"})
    for i in range(10):
        commit = host.publish("loop", {"x": str(i + 1)}, {"again": ("../loop.git", commit)})
    with pytest.raises(ConfigError, match="nested deeper"):
        fetch(f"{host.url}/loop.git", commit)


@pytest.mark.parametrize(
    "modules",
    [
        '[submodule "s"]\n\tpath = sub\n\turl = --upload-pack=touch RAN\n',
        '[submodule "s"]\n\tpath = sub\n\turl = ext::sh -c "touch RAN"\n',
        '[submodule "s"]\n\tpath = sub\n\turl = -u./RAN\n',
        '[submodule "s"]\n\tpath = sub\n\turl = ssh://-oProxyCommand=touch RAN/x\n',
        '[submodule "s"]\n\tpath = sub\n\turl = file:///etc\n',
        '[submodule "s"]\n\tpath = sub\n\turl = ../../../../../../etc\n',
        '[submodule "../../.git/modules/x"]\n\tpath = sub\n\turl = ext::sh -c "touch RAN"\n',
        '[submodule "s"]\n\tpath = sub\n\turl = https://h.example/x\n\tupdate = !touch RAN\n',
        '[include]\n\tpath = /etc/passwd\n[core]\n\tfsmonitor = touch RAN\n[submodule "s"]\n\tpath=sub\n\turl=ext::x\n',
    ],
)
def test_hostile_submodules_are_refused(host, fetch, tmp_path, modules) -> None:
    pinned = host.publish("lib", {"lib.py": "L = 1\n"})
    host.publish("job", {"job.py": "1\n"}, {"sub": ("../lib.git", pinned)})
    commit = host.publish("job", modules=modules)
    with pytest.raises(WindlassError):
        fetch(f"{host.url}/job.git", commit)
    assert not list(tmp_path.rglob("RAN"))


@pytest.mark.parametrize("path", ["../out", ".git/hooks", "/tmp/out", "sub/../../out", "a\n\tb"])
def test_a_path_in_gitmodules_leads_nowhere(host, fetch, tmp_path, path) -> None:
    """Where a submodule goes is said by the tree, which git has checked; the file may only name what the tree has."""
    pinned = host.publish("lib", {"lib.py": "L = 1\n"})
    host.publish("job", {"job.py": "1\n"}, {"sub": ("../lib.git", pinned)})
    text = path.replace("\n", "\\n").replace("\t", "\\t")
    commit = host.publish("job", modules=f'[submodule "s"]\n\tpath = "{text}"\n\turl = ../lib.git\n')
    try:
        target = fetch(f"{host.url}/job.git", commit)
    except WindlassError:
        pass
    else:
        assert sorted(p.name for p in target.rglob("*")) == [".gitmodules", "job.py", "sub"]  # a directory, empty
    assert not list(tmp_path.rglob("lib.py"))[1:], "only the working tree that was published"


def test_pointers_of_large_files_are_spoken_of(host, fetch) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "a" * 64 + "\nsize 12345\n"
    commit = host.publish(
        "job", {"job.py": "1\n", ".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "data/x.bin": pointer}
    )
    assert (fetch(f"{host.url}/job.git", commit) / "data/x.bin").read_text() == pointer
    (note,) = fetch.notes
    assert note.startswith("WARNING: 1 files")
    assert "data/x.bin" in note
    assert "LFS" in note


def test_two_agents_share_a_mirror(host, tmp_path) -> None:
    commits = [host.publish("job", {"job.py": f"print({i})\n", f"f{i}": "x" * 10_000}) for i in range(3)]
    program = (
        "import sys\nfrom pathlib import Path\nfrom windlass.config.secrets import Secret\n"
        "from windlass.launch.git import GitAccess, Mirror\nfrom windlass.launch.uris import classify\n"
        "url, cache, out, user, word, *commits = sys.argv[1:]\n"
        "for i, commit in enumerate(commits * 3):\n"
        "    mirror = Mirror(classify(url), Path(cache), GitAccess(username=user, token=Secret(word, 'env/T')))\n"
        "    mirror.fetch(commit)\n    target = Path(out, str(i))\n    target.mkdir(parents=True)\n"
        "    mirror.checkout(commit, target)\n    print((target / 'job.py').read_text().strip())\n"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, f"{host.url}/job.git", str(tmp_path / "cache"), str(tmp_path / f"out{n}"),
             GIT_USER, GIT_PASSWORD, *order],
            stdout=subprocess.PIPE, text=True,
        )
        for n, order in enumerate((commits, commits[::-1], commits))
    ]  # fmt: skip
    outputs = [process.communicate(timeout=120)[0].split() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    up = [f"print({i})" for i in range(3)] * 3
    assert outputs == [up, [f"print({i})" for i in (2, 1, 0)] * 3, up]


def test_a_git_that_was_killed_does_not_spoil_the_mirror(host, fetch, tmp_path) -> None:
    first = host.publish("job", {"job.py": "print(1)\n"})
    url = f"{host.url}/job.git"
    fetch(url, first)
    mirror = Mirror(classify(url), tmp_path / "cache")
    for left in ("shallow.lock", "packed-refs.lock", "refs/windlass/x.lock", "objects/pack/tmp_pack_1"):
        (mirror.path / left).write_text("")
    second = host.publish("job", {"job.py": "print(2)\n"})
    assert (fetch(url, second, "again") / "job.py").read_text() == "print(2)\n"
    assert not (mirror.path / "objects/pack/tmp_pack_1").exists()


def test_objects_of_old_tools_are_taken(host, fetch, tmp_path) -> None:
    host.publish("job", {"job.py": "print(1)\n"})
    work = tmp_path / "work" / "job"
    tree = git(work, "rev-parse", "HEAD^{tree}")
    odd = tmp_path / "commit"
    odd.write_text(f"tree {tree}\nauthor a <a@b> 1300000000 +051800\ncommitter a <a@b> 1300000000 +051800\n\nx\n")
    commit = git(work, "hash-object", "-t", "commit", "-w", "--literally", str(odd))
    git(work, "update-ref", "refs/heads/main", commit)
    git(work, "push", "-q", "-f", str(host.served / "job.git"), "main")
    assert (fetch(f"{host.url}/job.git", commit) / "job.py").exists()
