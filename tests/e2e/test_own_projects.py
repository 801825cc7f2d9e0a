"""Projects as people have them, launched as they are."""

from __future__ import annotations

from pathlib import Path


def test_the_package_of_a_project_is_that_of_the_launched_code(windlass, tmp_path):
    """Not installed anywhere, or installed in place from a working copy that has changed since."""
    for place, says in (("project", "launched"), ("installed", "in place")):
        package = Path(place, "src", "wren")
        package.mkdir(parents=True)
        package.joinpath("__init__.py").touch()
        package.joinpath("train.py").write_text(f"print({says!r})\n")
    Path("project", "pyproject.toml").write_text('[project]\nname = "wren"\nversion = "1"\n')
    Path("project", "scripts").mkdir()
    Path("project", "scripts", "go.py").write_text("import wren.train\n")
    Path("queue.yaml").write_text(f"env: [{{PYTHONPATH: {tmp_path}/work/installed/src}}]\n".replace(": /", "=/"))
    Path("queue.yaml").write_text(f'env: ["PYTHONPATH={tmp_path}/work/installed/src"]\n')
    assert windlass("queue", "create", "q", "--resource", "process", "--config", "queue.yaml").code == 0
    for entry in ("python -m wren.train", "python scripts/go.py"):
        assert windlass("launch", "-u", "project", "-E", entry, "-p", "demo", "-q", "q").code == 0
        assert windlass("launch-agent", "-q", "q", "--drain").code == 0
        run = windlass("run", "list", "--limit", "1", "--json").json[0]["id"]
        assert windlass("run", "logs", run).out == "launched\n"
