"""Components: what a ``defs.yaml`` says becomes definitions, and the tool ``dg`` finds them in order."""

import subprocess
import sys
import textwrap
from pathlib import Path

import dagster as dg
import pytest

FILES = {
    "store": """
        type: dagster_windlass.components.ArtifactStoreComponent
        attributes:
          entity: my_entity
          project: my_project
          cache_duration_in_minutes: 60
    """,
    "outside": """
        type: dagster_windlass.components.ArtifactCollectionsComponent
        attributes:
          artifacts:
            - {name: labels, alias: approved, sensor: true, description: Labels by hand}
            - {name: other/pictures, key: raw/pictures, version: v0}
    """,
    "training": """
        type: dagster_windlass.components.LaunchJobComponent
        attributes:
          queue: gpu
          uri: train/
          argv: [python, train.py]
          asset: {key: models/digits, deps: [labels], kinds: [pytorch]}
    """,
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    package = root / "src" / "some_project"
    (package / "defs").mkdir(parents=True)
    (root / "pyproject.toml").write_text(
        '[project]\nname = "some-project"\nversion = "0"\n[tool.dg]\ndirectory_type = "project"\n'
        '[tool.dg.project]\nroot_module = "some_project"\n'
        "registry_modules = []\n"
    )
    (package / "__init__.py").write_text("")
    (package / "definitions.py").write_text(
        "from pathlib import Path\nimport dagster as dg\n\n\n@dg.definitions\ndef defs():\n"
        "    try:\n        return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)\n"
        "    except TypeError:  # Dagster 1.11\n"
        "        return dg.load_from_defs_folder(project_root=Path(__file__).parents[2])\n"
    )
    (package / "defs" / "__init__.py").write_text("")
    for name, text in FILES.items():
        (package / "defs" / name).mkdir()
        (package / "defs" / name / "defs.yaml").write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(str(root / "src"))
    monkeypatch.setenv("PYTHONPATH", str(root / "src"))
    monkeypatch.chdir(root)
    return root


def test_definitions(project: Path) -> None:
    try:
        definitions = dg.load_from_defs_folder(path_within_project=project / "src" / "some_project")
    except TypeError:  # Dagster 1.11
        definitions = dg.load_from_defs_folder(project_root=project)
    repository = definitions.get_repository_def()
    keys = {key.to_user_string() for key in repository.assets_defs_by_key}
    assert keys == {"labels", "raw/pictures", "models/digits"}
    assert [sensor.name for sensor in repository.sensor_defs] == ["labels_approved"]
    assert set(repository.get_top_level_resources()) == {"windlass", "io_manager"}
    model = repository.assets_defs_by_key[dg.AssetKey(["models", "digits"])]
    assert model.asset_deps[dg.AssetKey(["models", "digits"])] == {dg.AssetKey("labels")}


@pytest.mark.slow
@pytest.mark.service("dg")
@pytest.mark.timeout(300)
def test_dg_is_content(project: Path) -> None:
    program = Path(sys.executable).parent / "dg"
    for words in (["check", "yaml"], ["check", "defs"]):
        done = subprocess.run(
            [str(program), *words], cwd=project, capture_output=True, text=True, timeout=140, check=False
        )
        assert done.returncode == 0, f"dg {' '.join(words)}\n{done.stdout}\n{done.stderr}"
    bad = project / "src/some_project/defs/store/defs.yaml"
    bad.write_text(bad.read_text().replace("entity:", "entiti:"))
    done = subprocess.run(
        [str(program), "check", "yaml"], cwd=project, capture_output=True, text=True, timeout=140, check=False
    )
    assert done.returncode != 0
    assert "entiti" in done.stdout + done.stderr
