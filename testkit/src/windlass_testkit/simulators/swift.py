"""An S3 server that checks signatures: OpenStack Swift with its S3 interface, for one suite of compatibility.

It is looked for in a virtual environment of its own, because it needs old packages::

    python3 -m venv ~/.cache/windlass/swift && ~/.cache/windlass/swift/bin/pip install swift 'setuptools<81'

(``WINDLASS_SWIFT`` names another one), and needs the program memcached.
"""

from __future__ import annotations

import getpass
import os
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from windlass_testkit.servers import Running, free_port, shared, start, wait_for_port
from windlass_testkit.services import add_service, program, require

__all__ = ["swift_bucket", "swift_server"]

KEY, SECRET = "test:tester", "testing"
_CONF = """[swift-hash]
swift_hash_path_suffix = test
swift_hash_path_prefix = test
[storage-policy:0]
name = gold
default = yes
"""
_PIPELINE = "catch_errors cache listing_formats bulk s3api tempauth copy slo dlo versioned_writes symlink proxy-server"
_FILTERS: Mapping[str, Mapping[str, object]] = {
    "catch_errors": {},
    "cache": {"use": "egg:swift#memcache"},
    "listing_formats": {},
    "bulk": {},
    "s3api": {"location": "us-east-1", "dns_compliant_bucket_names": "true", "s3_acl": "false"},
    "tempauth": {"user_test_tester": f"{SECRET} .admin"},
    "copy": {},
    "slo": {},
    "dlo": {},
    "versioned_writes": {"allow_versioned_writes": "true", "allow_object_versioning": "true"},
    "symlink": {},
}


def _bin() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("WINDLASS_SWIFT") or cache / "windlass" / "swift") / "bin"


def _missing() -> str:
    if not (_bin() / "swift-proxy-server").exists():
        return f"no swift-proxy-server in {_bin()}"
    return "" if program("memcached") else "no program memcached here"


add_service("swift", _missing)


def _section(name: str, values: Mapping[str, object]) -> str:
    return f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())


def _start_swift() -> Running:
    folder = Path(tempfile.mkdtemp(prefix="windlass-swift-"))
    (folder / "swift.conf").write_text(_CONF)
    (folder / "srv" / "sdb1").mkdir(parents=True)
    common = {"bind_ip": "127.0.0.1", "workers": 1, "user": getpass.getuser(), "swift_dir": folder}
    commands = []
    for name in ("account", "container", "object"):
        port, builder = free_port(), str(folder / f"{name}.builder")
        for words in (["create", "6", "1", "0"], ["add", f"r1z1-127.0.0.1:{port}/sdb1", "1"], ["rebalance"]):
            # rebalance exits with 1 when it has nothing to improve
            subprocess.run([str(_bin() / "swift-ring-builder"), builder, *words], capture_output=True, check=False)
        devices = {"devices": folder / "srv", "mount_check": "false", "disable_fallocate": "true", "bind_port": port}
        (folder / f"{name}.conf").write_text(
            _section("DEFAULT", common | devices)
            + _section("pipeline:main", {"pipeline": f"{name}-server"})
            + _section(f"app:{name}-server", {"use": f"egg:swift#{name}", "recon_cache_path": folder})
        )
        commands.append(f"'{_bin()}/swift-{name}-server' '{folder}/{name}.conf'")
    port, cache = free_port(), free_port()
    commands.append(f"'{program('memcached')}' -u nobody -l 127.0.0.1 -p {cache}")
    (folder / "proxy.conf").write_text(
        _section("DEFAULT", common | {"bind_port": port})
        + _section("pipeline:main", {"pipeline": _PIPELINE})
        + _section(
            "app:proxy-server",
            {"use": "egg:swift#proxy", "account_autocreate": "true", "allow_account_management": "true"},
        )
        + "".join(
            _section(f"filter:{name}", {"use": f"egg:swift#{name}"} | dict(values)) for name, values in _FILTERS.items()
        )
        .replace("egg:swift#memcache\n", f"egg:swift#memcache\nmemcache_servers = 127.0.0.1:{cache}\n")
    )  # fmt: skip
    commands.append(f"'{_bin()}/swift-proxy-server' '{folder}/proxy.conf'")
    # Each server makes a session of its own, so the shell ends them, and waits for it.
    begin = "".join(f'{command} & servers="$servers $!"\n' for command in commands)
    pid = start(["sh", "-c", f"trap 'kill $servers; wait; exit 0' TERM\n{begin}wait"], log=folder / "log")
    wait_for_port(port, pid=pid, log=folder / "log", timeout=90)
    return Running(pid=pid, folder=str(folder), facts={"url": f"http://127.0.0.1:{port}"})


@pytest.fixture(scope="session")
def swift_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the S3 interface of a Swift, shared by this test session."""
    require("swift")
    with shared(tmp_path_factory, "swift", _start_swift) as running:
        yield str(running.facts["url"])


@pytest.fixture
def swift_bucket(swift_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Name of an empty bucket; the environment points to the server with the right keys."""
    import boto3

    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_SKIP_SIGNATURE", "AWS_ENDPOINT_URL_S3", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_S3_ENDPOINT_URL", swift_server)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws-credentials"))
    name = f"t-{uuid.uuid4().hex}"
    # A session of its own: the default one keeps the keys that it found first in this process.
    session = boto3.Session(KEY, SECRET, region_name="us-east-1")
    session.client("s3", endpoint_url=swift_server).create_bucket(Bucket=name)
    return name
