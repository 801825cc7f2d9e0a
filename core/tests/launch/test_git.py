"""Git sources: pinned, cached, and harmless whatever the repository holds."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from windlass.config.secrets import Secret
from windlass.errors import ConfigError, NotFoundError, StorageError, UsageError, WindlassError
from windlass.launch.git import GitAccess, Mirror, resolve_commit
from windlass.launch.plan import plan_run
from windlass.launch.sources import fetch_source, patch_artifact
from windlass.launch.submit import LaunchRequest, submit
from windlass.launch.uris import classify
from windlass.models.job import JobSource, SourceKind
from windlass.models.queue import QueueRef
from windlass_testkit.servers import free_port, start, stop, wait_for_port

pytestmark = pytest.mark.service("git")


def _git(folder, *arguments, check=True, **env):
    identity = {
        "GIT_AUTHOR_NAME": "t",
        "GIT_AUTHOR_EMAIL": "t@t",
        "GIT_COMMITTER_NAME": "t",
        "GIT_COMMITTER_EMAIL": "t@t",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
    }
    return subprocess.run(
        ["git", *arguments],
        cwd=folder,
        check=check,
        capture_output=True,
        text=True,
        env={**os.environ, **identity, **env},
    ).stdout.strip()


def _commit(repo, message="change"):
    _git(repo, "add", "-A")
    _git(repo, "commit", "-q", "-m", message)
    return _git(repo, "rev-parse", "HEAD")


@pytest.fixture
def repo(tmp_path):
    """A repository with two commits on main, a tag, and a branch."""
    folder = tmp_path / "repo"
    folder.mkdir()
    _git(folder, "init", "-q", "-b", "main")
    (folder / "jobs").mkdir()
    (folder / "jobs" / "job.py").write_text("print('one')\n")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    first = _commit(folder)
    _git(folder, "tag", "-a", "v1", "-m", "v1")
    _git(folder, "branch", "side")
    (folder / "jobs" / "job.py").write_text("print('two')\n")
    return folder, first, _commit(folder)


@pytest.fixture
def fetch(world, tmp_path):
    def run(remote, commit, name="out", **changes):
        source = JobSource(kind=SourceKind.GIT, remote=remote, commit=commit, **changes)
        return fetch_source(source, tmp_path / name, engine=world.engine, cache_dir=tmp_path / "cache")

    return run


def test_refs_become_commits(repo, tmp_path):
    folder, first, second = repo
    location = classify(f"file://{folder}")
    for ref, commit in {
        "": second,
        "main": second,
        "v1": first,
        "side": first,
        second[:9]: second,
        first: first,
    }.items():
        assert resolve_commit(location, ref, tmp_path / "cache") == commit, ref
    with pytest.raises(NotFoundError, match="no branch") as caught:
        resolve_commit(location, "nope", tmp_path / "cache")
    assert "main" in caught.value.hint
    _git(folder, "symbolic-ref", "HEAD", "refs/heads/gone")
    with pytest.raises(NotFoundError, match="default branch does not exist") as caught:
        resolve_commit(location, "", tmp_path / "cache")
    assert "--git-hash" in caught.value.hint
    assert "main" in caught.value.hint


def test_an_old_commit_that_no_ref_names(repo, tmp_path):
    folder, _, _ = repo
    (folder / "x").write_text("x")
    third = _commit(folder)
    (folder / "x").write_text("y")
    _commit(folder)
    assert resolve_commit(classify(f"file://{folder}"), third[:10], tmp_path / "cache") == third


def test_a_git_job_travels(world, repo, fetch):
    folder, first, second = repo
    request = LaunchRequest(
        uri=f"file://{folder}", git_hash="v1", build_context="jobs", entry_point="python job.py", resource="bare"
    )
    run = submit(request, **world.given)
    assert run.spec.source.commit == first
    assert run.spec.job.startswith("team/demo/job-file___")
    target = fetch(run.spec.source.remote, first)
    assert (target / "jobs" / "job.py").read_text() == "print('one')\n"
    assert (target / "run.sh").stat().st_mode & 0o111
    assert not (target / ".git").exists()
    assert plan_run(run, world.store.queues.get(QueueRef(entity="team", name=run.queue))).command == (
        "python",
        "job.py",
    )
    assert (fetch(run.spec.source.remote, second, "newer") / "jobs" / "job.py").read_text() == "print('two')\n"


def test_the_mirror_is_asked_first(repo, fetch):
    folder, first, _ = repo
    fetch(f"file://{folder}", first)
    shutil.rmtree(folder)
    assert (fetch(f"file://{folder}", first, "again") / "run.sh").exists()


def test_missing_commit_and_repository(repo, fetch, tmp_path):
    folder, _, _ = repo
    with pytest.raises(NotFoundError, match="no commit"):
        fetch(f"file://{folder}", "a" * 40)
    with pytest.raises(UsageError, match="full commit"):
        fetch(f"file://{folder}", "--all", "b")
    with pytest.raises(WindlassError):
        fetch(f"file://{tmp_path}/none", "a" * 40, "c")


def test_uncommitted_changes_are_applied(world, repo, fetch):
    folder, _, second = repo
    (folder / "jobs" / "job.py").write_text("print('patched')\n")
    (folder / "new.bin").write_bytes(bytes(range(256)))
    _git(folder, "add", "-A")
    patch = subprocess.run(["git", "diff", "--binary", "HEAD"], cwd=folder, check=True, capture_output=True).stdout
    logged = world.engine.log(patch_artifact(patch, "patch-x"), entity="team", project="demo")
    target = fetch(f"file://{folder}", second, patch=logged.info.path)
    assert (target / "jobs" / "job.py").read_text() == "print('patched')\n"
    assert (target / "new.bin").read_bytes() == bytes(range(256))


@pytest.mark.parametrize("path", ["../escape", "link/escape", ".git/hooks/x"])
def test_a_patch_cannot_lead_out(world, repo, fetch, tmp_path, path):
    folder, _, _ = repo
    (folder / "link").symlink_to(tmp_path)
    commit = _commit(folder)
    patch = f"--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+x\n".encode()
    logged = world.engine.log(patch_artifact(patch, "patch-x"), entity="team", project="demo")
    try:
        fetch(f"file://{folder}", commit, patch=logged.info.path)
    except StorageError:
        pass
    assert not (tmp_path / "escape").exists()


def test_hooks_filters_and_monitors_do_not_run(repo, fetch, tmp_path, monkeypatch):
    """What the host's own git config would run on foreign content stays off, as do the repository's ideas."""
    folder, _, _ = repo
    mark = tmp_path / "ran"
    home = tmp_path / "githome"
    hooks = home / "hooks"
    hooks.mkdir(parents=True)
    for name in ("post-checkout", "reference-transaction", "post-index-change"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {mark}\n")
        (hooks / name).chmod(0o755)
    (home / ".gitconfig").write_text(
        f"[core]\n hooksPath = {hooks}\n fsmonitor = touch {mark}\n"
        f'[filter "evil"]\n smudge = touch {mark}; cat\n clean = touch {mark}; cat\n required = true\n'
        f"[init]\n templateDir = {hooks.parent}\n"
    )
    monkeypatch.setenv("HOME", str(home))
    (folder / ".gitattributes").write_text("* filter=evil\n")
    commit = _commit(folder)
    assert (fetch(f"file://{folder}", commit) / "run.sh").exists()
    assert not mark.exists()


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c touch% RAN",
        "file:///etc",
        "-u./RAN",
        "--upload-pack=touch RAN",
        "/etc",
        "http://h/x",
        "../../../../x",
    ],
)
def test_hostile_submodules_are_refused(repo, fetch, tmp_path, url):
    folder, _, second = repo
    (folder / ".gitmodules").write_text(f'[submodule "x"]\n\tpath = sub\n\turl = "{url}"\n')
    _git(folder, "add", ".gitmodules")
    _git(folder, "update-index", "--add", "--cacheinfo", f"160000,{second},sub")
    _git(folder, "commit", "-q", "-m", "sub")
    commit = _git(folder, "rev-parse", "HEAD")
    with pytest.raises((ConfigError, UsageError, StorageError)):  # git itself refuses some
        fetch(f"file://{folder}", commit)
    assert not list(tmp_path.rglob("RAN"))


def test_a_submodule_behind_a_link_is_refused(repo, fetch, tmp_path):
    folder, _, second = repo
    outside = tmp_path / "outside"
    outside.mkdir()
    (folder / "sub").symlink_to(outside)
    (folder / ".gitmodules").write_text('[submodule "x"]\n\tpath = SUB\n\turl = https://h.example/x\n')
    _commit(folder)
    # A tree cannot hold a link and a gitlink of one name; another spelling may reach it where case does not count.
    _git(folder, "update-index", "--add", "--cacheinfo", f"160000,{second},sub2/../sub", check=False)
    assert list(outside.iterdir()) == []


def test_gitlinks_without_an_entry_are_left_empty(repo, fetch):
    folder, _, second = repo
    _git(folder, "update-index", "--add", "--cacheinfo", f"160000,{second},sub")
    _git(folder, "commit", "-q", "-m", "sub")
    target = fetch(f"file://{folder}", _git(folder, "rev-parse", "HEAD"))
    assert (target / "run.sh").exists()


def test_tokens_stay_out_of_arguments(monkeypatch, tmp_path):
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/arguments; env > {tmp_path}/env\n'
        "echo fatal: Authentication failed for https://u:hush@h/x >&2; exit 128\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    access = GitAccess(token=Secret("hush", "env/T"))
    with pytest.raises(WindlassError) as caught:
        resolve_commit(classify("https://h.example/x"), "main", tmp_path / "cache", access)
    assert "hush" not in (tmp_path / "arguments").read_text()
    assert "hush" not in str(caught.value)
    assert "hush" not in repr(access)
    assert "GIT_TERMINAL_PROMPT=0" in (tmp_path / "env").read_text().split()
    assert caught.value.code == "access"


@pytest.fixture
def ssh_repo(repo, tmp_path, monkeypatch):
    """The repository behind an ssh server of our own; yields its URI and the access to it."""
    program = shutil.which("sshd") or "/usr/sbin/sshd"
    folder, _, _ = repo
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True, timeout=30
        )
    port = free_port()
    (tmp_path / "sshd.conf").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host\nPidFile none\nStrictModes no\nUsePAM no\n"
        f"AuthorizedKeysFile {tmp_path}/user.pub\nPasswordAuthentication no\n"
    )
    os.makedirs("/run/sshd", exist_ok=True)
    pid = start([program, "-D", "-e", "-f", str(tmp_path / "sshd.conf")], log=tmp_path / "sshd.log")
    wait_for_port(port, pid=pid, log=tmp_path / "sshd.log")
    host_key = " ".join((tmp_path / "host.pub").read_text().split()[:2])
    (tmp_path / "known").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    monkeypatch.setenv("GIT_SSH_COMMAND", f"ssh -F /dev/null -o UserKnownHostsFile={tmp_path}/known")
    yield f"ssh://root@127.0.0.1:{port}{folder}", GitAccess(ssh_key=str(tmp_path / "user"))
    stop(pid)


@pytest.mark.service("sshd")
def test_over_ssh(ssh_repo, repo, tmp_path, world):
    if os.getuid() != 0:
        pytest.skip("the server of this test signs in as root")
    uri, access = ssh_repo
    _, first, second = repo
    location = classify(uri)
    assert resolve_commit(location, "main", tmp_path / "cache", access) == second
    source = JobSource(kind=SourceKind.GIT, remote=uri, commit=first)
    target = fetch_source(
        source, tmp_path / "out", engine=world.engine, cache_dir=tmp_path / "cache", access={location.host: access}
    )
    assert (target / "run.sh").exists()
    with pytest.raises(WindlassError) as caught:
        resolve_commit(location, "main", tmp_path / "cache")
    assert caught.value.code == "access"


def test_mirrors_of_two_remotes_are_apart(tmp_path):
    one, two = (Mirror(classify(f"https://h.example/{name}"), tmp_path) for name in "ab")
    assert one.path != two.path
