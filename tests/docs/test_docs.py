"""The documentation is true: generated pages are up to date, links lead somewhere, and every block of code is run."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from attrs import frozen

from windlass_testkit.simulators.aws import aws_env, moto_server  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

WRITTEN = sorted(p for p in DOCS.rglob("*.md") if p.parent.name not in ("adr", "reference"))
ALL = sorted(DOCS.rglob("*.md"))


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_up_to_date(generator: ModuleType) -> None:
    stale = [str(path) for path, text in generator.pages().items() if not path.exists() or path.read_text() != text]
    assert not stale, f"run: python docs/generate.py\n{stale}"


INTERNAL = {
    "WINDLASS_GIT_VARIABLE",  # between Windlass and the git that it starts
    "WINDLASS_SWIFT",  # where the simulator of a Swift cluster is, for Windlass's own tests
}


def test_every_variable_is_documented() -> None:
    listed = set(re.findall(r"^\| `(WINDLASS_\w+)` \|", (DOCS / "reference" / "settings.md").read_text(), re.MULTILINE))
    used = set()
    for path in ROOT.glob("**/src/**/*.py"):
        if not {".venv", "node_modules"} & set(path.relative_to(ROOT).parts):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    used |= set(re.findall(r"^WINDLASS_[A-Z0-9_]*[A-Z0-9]$", node.value))
    assert len(used) > 20
    assert used - listed - INTERNAL == set(), "add them to docs/generate.py, or to INTERNAL"
    assert listed - used == set(), "nothing reads these"


def test_every_hook_is_documented_with_its_signature() -> None:
    spec = importlib.import_module("windlass.plugins.hookspec")
    page = (DOCS / "reference" / "hooks.md").read_text()
    hooks = [name for name in vars(spec) if name.startswith("windlass_")]
    assert len(hooks) >= 12
    for name in hooks:
        arguments = ", ".join(
            str(p).replace("'", "") for p in inspect.signature(getattr(spec, name)).parameters.values()
        )
        assert f"`{name}({arguments})" in page


def test_the_example_of_a_launch_config_is_one(tmp_path: Path) -> None:
    from windlass.config.converter import structure
    from windlass.plugins.app import App
    from windlass_agent.config import load

    page = (DOCS / "reference" / "launch-config.md").read_text()
    path = tmp_path / "launch-config.yaml"
    path.write_text(page.partition("```yaml\n")[2].partition("```")[0])
    config, app = load(path, env={}), App()
    assert config.queues == ("gpu", "nightly")
    for kind, parts in (("runner", config.runners), ("storage", config.storage)):
        assert parts
        for name, values in parts.items():
            structure(values, app.catalog(kind).get(name).config)
    for kind, part in (("registry", config.registry), ("builder", config.builder)):
        assert part is not None
        settings = {key: value for key, value in part.items() if key != "type"}
        structure(settings, app.catalog(kind).get(part["type"]).config)


# -- blocks of code ---------------------------------------------------------------------------------------------------


@frozen
class Block:
    """A fenced block: its language, what stands behind it, its text.

    Behind it may stand ``file=…``, ``not-run: why``, ``run-by: test``, ``output-has: …``.
    """

    language: str
    note: str
    text: str
    line: int


def blocks(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    fences = re.finditer(r"^```(\w+)[ \t]*([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(f[1], f[2].strip(), f[3], text.count("\n", 0, f.start()) + 1) for f in fences]


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(DOCS)))
def test_blocks_run(path: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Blocks of a page run one after the other in one empty directory, as a reader would run them.

    A page that says ``<!-- needs: s3 -->`` finds an S3 server. Servers that it starts leave their pid in ``*.pid``.
    """
    env = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "WINDLASS_HOME": str(tmp_path / "home"),
        "WINDLASS_ENTITY": "docs",
    }
    if "<!-- needs: s3 -->" in path.read_text(encoding="utf-8"):
        env |= request.getfixturevalue("aws_env")
    try:
        _run_blocks(path, tmp_path, env)
    finally:
        for note in tmp_path.glob("*.pid"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(note.read_text()), signal.SIGTERM)


def _run_blocks(path: Path, tmp_path: Path, env: dict[str, str]) -> None:
    for block in blocks(path):
        place = f"{path.relative_to(ROOT)}:{block.line}"
        if block.note.startswith("not-run:"):
            assert len(block.note) > len("not-run: because"), f"{place}: say why it is not run"
            continue
        if block.note.startswith("run-by:"):
            other = ROOT / block.note.partition(":")[2].strip()
            assert path.name in other.read_text(encoding="utf-8"), f"{place}: {other} does not run this page"
            continue
        name = re.search(r"file=(\S+)", block.note)
        if name is not None:
            _write(tmp_path / name[1], block)
            continue
        if block.language in ("mermaid", "text"):
            continue
        command = {"sh": ["sh", "-e", "-c", block.text], "python": [sys.executable, "-c", block.text]}.get(
            block.language
        )
        assert command is not None, f"{place}: nobody runs {block.language}; mark it not-run: with a reason"
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=110, check=False)
        said = f"{place}:\n{block.text}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == 0, said
        if block.note.startswith("output-has:"):
            assert block.note.partition(":")[2].strip() in done.stdout, said


def _write(path: Path, block: Block) -> None:
    """Write a file that a page shows, if it is well formed."""
    {"python": lambda t: compile(t, path.name, "exec"), "toml": tomllib.loads, "json": json.loads}.get(
        block.language, lambda t: t
    )(block.text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text, encoding="utf-8")


def test_the_page_on_runners_shows_every_file_of_its_example() -> None:
    page = (DOCS / "how-to" / "write-a-runner.md").read_text()
    example = ROOT / "examples" / "third-party-runner"
    files = {path.relative_to(ROOT).as_posix() for path in example.rglob("*") if path.is_file() and path.stat().st_size}
    left_out = {"README.md", "__init__.py", "py.typed"}
    wanted = {name for name in files if "__pycache__" not in name and Path(name).name not in left_out}
    assert set(re.findall(r"<!-- include: (\S+) -->", page)) == wanted


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(DOCS)))
def test_no_step_is_missing(path: Path) -> None:
    steps = [int(number) for number in re.findall(r"^## (\d+)\. ", path.read_text(encoding="utf-8"), re.MULTILINE)]
    assert steps == list(range(1, len(steps) + 1))


# -- links and decisions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ALL, ids=lambda path: str(path.relative_to(DOCS)))
def test_links_lead_somewhere(path: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", _prose(path)):
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if "://" not in link and not (target.exists() and (not anchor or anchor in _anchors(target))):
            broken.append(link)
    assert not broken


def _prose(path: Path) -> str:
    return re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def _anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", _prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", sorted((DOCS / "adr").glob("*.md")), ids=lambda path: path.name)
def test_decisions_have_their_form(path: Path) -> None:
    if path.name == "README.md":
        return
    assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", path.name)
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# {path.name[:4]}")
    sections = [title.lower() for title in re.findall(r"^## (.+)$", text, re.MULTILINE)]
    for wanted in ("context", "options", "decision", "consequences", "a change violates"):
        assert any(title.startswith(wanted) for title in sections), f"no section '{wanted}' in {sections}"


def test_numbers_of_decisions_are_unique() -> None:
    numbers = [path.name[:4] for path in (DOCS / "adr").glob("0*.md")]
    assert len(numbers) == len(set(numbers))
