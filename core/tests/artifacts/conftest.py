from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from windlass.artifacts.artifact import Artifact
from windlass.artifacts.engine import ArtifactEngine
from windlass.plugins.app import App
from windlass.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env(
        {
            "WINDLASS_HOME": str(tmp_path / "home"),
            "WINDLASS_ENTITY": "team",
            "WINDLASS_PROJECT": "demo",
            "WINDLASS_ARTIFACT_DIR": str(tmp_path / "downloads"),
        }
    )


@pytest.fixture
def engine(settings: Settings) -> Iterator[ArtifactEngine]:
    app = App(settings)
    store = app.open_store()
    engine = ArtifactEngine(app, store, settings)
    yield engine
    engine.cache.close()
    store.close()
    app.close()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Small, empty, middle and large files, and odd names."""
    import random

    noise = random.Random(7)
    root = tmp_path / "tree"
    (root / "sub" / "deep").mkdir(parents=True)
    for index in range(40):
        (root / "sub" / f"{index:03}.bin").write_bytes(noise.randbytes(3000 + index))
    (root / "empty").touch()
    (root / "sub" / "deep" / "ünï côdé #1?.txt").write_text("hello")
    (root / "twin").write_text("hello")
    (root / "middle").write_bytes(noise.randbytes(300_000))
    (root / "large").write_bytes(noise.randbytes(18 << 20))
    return root


@pytest.fixture
def logged(engine: ArtifactEngine, tree: Path) -> Artifact:
    artifact = Artifact("data", "dataset")
    artifact.add_dir(tree)
    return engine.log(artifact)


@pytest.fixture
def snapshot() -> Callable[[Path | str], dict[str, bytes]]:
    def take(root: Path | str) -> dict[str, bytes]:
        top = Path(root)
        return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}

    return take
