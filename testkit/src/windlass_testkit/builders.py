"""The contract of builders: the same content is one image, other content another, and failures say what failed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from windlass.builders import Builder, BuildSpec, BuiltImage
from windlass.errors import BuildError, UnsupportedError
from windlass.plugins.app import App
from windlass_testkit.base import Contract

__all__ = ["BuilderContract", "RecordedLog"]


class RecordedLog:
    """A build log that keeps what it is given."""

    def __init__(self) -> None:
        self.data = b""
        self.phases: list[str] = []

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        self.data += data

    def phase(self, name: str) -> None:
        self.phases.append(name)


class BuilderContract(Contract):
    """Subclass it, set `name`, and give the fixtures `base_image` and `remove_image`."""

    kind = "builder"

    # -- what the subclass gives ------------------------------------------------------------------------------

    @pytest.fixture
    def base_image(self) -> str:
        """An image with ``/bin/sh`` that the builder can start from."""
        raise NotImplementedError("give a fixture `base_image`")

    @pytest.fixture
    def remove_image(self) -> Callable[[BuiltImage], None]:
        """Removes an image that a test has built."""
        raise NotImplementedError("give a fixture `remove_image`")

    # -- what the suite uses ----------------------------------------------------------------------------------

    @pytest.fixture
    def builder(self, app: App, config: Mapping[str, Any]) -> Iterator[Builder]:
        """The builder under test."""
        builder = app.create_builder(self.name, config)
        yield builder
        builder.close()

    @pytest.fixture
    def builds(self, descriptor: Any) -> None:
        """For tests of builders that build."""
        if not descriptor.capabilities.builds:
            pytest.skip("the builder declares that it builds nothing")

    @pytest.fixture
    def source(self, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
        """A build context that no other test has."""
        folder = tmp_path / "context"
        folder.mkdir()
        (folder / "note.txt").write_text(f"{request.node.nodeid} {os.urandom(8).hex()}\n")
        return folder

    @pytest.fixture
    def build(
        self,
        builder: Builder,
        source: Path,
        base_image: str,
        remove_image: Callable[[BuiltImage], None],
    ) -> Iterator[Callable[..., tuple[BuiltImage, RecordedLog]]]:
        """Writes a Dockerfile with these lines and builds."""
        built: dict[str, BuiltImage] = {}

        def run(*lines: str, **changes: Any) -> tuple[BuiltImage, RecordedLog]:
            dockerfile = changes.get("dockerfile", "Dockerfile")
            text = "\n".join((f"FROM {base_image}", *(lines or ("COPY note.txt /note.txt",))))
            (source / dockerfile).write_text(text + "\n")
            log = RecordedLog()
            image = builder.build(
                BuildSpec(**{"run_id": "contract", "context": str(source), "name": "windlass-testkit", **changes}), log
            )
            built[image.uri] = image
            return image, log

        yield run
        for image in built.values():
            remove_image(image)

    # -- the contract -----------------------------------------------------------------------------------------

    def test_check_passes(self, builder: Builder) -> None:
        builder.check()

    def test_close_may_be_repeated(self, app: App, config: Mapping[str, Any]) -> None:
        builder = app.create_builder(self.name, config)
        builder.close()
        builder.close()

    def test_a_builder_that_does_not_build_says_so(self, builder: Builder, descriptor: Any, source: Path) -> None:
        if descriptor.capabilities.builds:
            pytest.skip("the builder builds")
        (source / "Dockerfile").write_text("FROM scratch\n")
        with pytest.raises(UnsupportedError) as caught:
            builder.build(BuildSpec(run_id="contract", context=str(source)), RecordedLog())
        assert caught.value.hint

    def test_builds_an_image(self, builds: None, build: Callable[..., tuple[BuiltImage, RecordedLog]]) -> None:
        image, log = build("RUN echo said-in-the-build", "COPY note.txt /note.txt")
        assert not image.reused
        assert ":" in image.uri.rpartition("/")[2] or "@sha256:" in image.uri
        assert image.digest.startswith("sha256:")
        assert log.phases[0] == "building"
        assert b"said-in-the-build" in log.data

    def test_same_content_is_not_built_again(
        self, builds: None, build: Callable[..., tuple[BuiltImage, RecordedLog]], source: Path
    ) -> None:
        first, _ = build()
        os.utime(source / "note.txt", (1, 1))
        (source / "note.txt").chmod(0o600)
        second, _ = build(run_id="another", labels={"windlass.test": "other"})
        assert second.reused
        assert (second.uri, second.digest) == (first.uri, first.digest)

    @pytest.mark.parametrize("change", ["content", "name", "mode", "link", "dockerfile", "argument"])
    def test_any_change_gives_another_image(
        self, builds: None, build: Callable[..., tuple[BuiltImage, RecordedLog]], source: Path, change: str
    ) -> None:
        lines = ["ARG FLAVOUR=plain", "COPY . /all/"]
        first, _ = build(*lines)
        changes: dict[str, Any] = {}
        if change == "content":
            (source / "note.txt").write_text("something else\n")
        elif change == "name":
            (source / "note.txt").rename(source / "other.txt")
        elif change == "mode":
            (source / "note.txt").chmod(0o755)
        elif change == "link":
            (source / "link").symlink_to("note.txt")
        elif change == "dockerfile":
            lines.append("ENV ADDED=1")
        else:
            changes["build_args"] = {"FLAVOUR": "sour"}
        second, _ = build(*lines, **changes)
        assert not second.reused
        assert second.uri != first.uri

    def test_another_dockerfile_gives_another_image(
        self, builds: None, build: Callable[..., tuple[BuiltImage, RecordedLog]], source: Path
    ) -> None:
        first, _ = build()
        (source / "deep").mkdir()
        second, _ = build(dockerfile="deep/Dockerfile.other")
        assert second.uri != first.uri

    def test_context_is_left_as_it_is(
        self, builds: None, build: Callable[..., tuple[BuiltImage, RecordedLog]], source: Path
    ) -> None:
        build()
        assert sorted(path.name for path in source.rglob("*")) == ["Dockerfile", "note.txt"]

    def test_failure_names_the_step_and_quotes_the_log(
        self, builds: None, builder: Builder, source: Path, base_image: str
    ) -> None:
        (source / "Dockerfile").write_text(f"FROM {base_image}\nRUN echo almost-there && exit 23\n")
        log = RecordedLog()
        with pytest.raises(BuildError) as caught:
            builder.build(BuildSpec(run_id="contract", context=str(source), name="windlass-testkit"), log)
        assert "exit 23" in caught.value.message
        assert "almost-there" in caught.value.hint
        assert b"almost-there" in log.data
        assert not caught.value.retryable

    def test_missing_package_is_named(self, builds: None, builder: Builder, source: Path, base_image: str) -> None:
        line = "ERROR: No matching distribution found for no-such-package==9.9"
        (source / "Dockerfile").write_text(f"FROM {base_image}\nRUN echo '{line}' && exit 1\n")
        with pytest.raises(BuildError, match=r"no-such-package==9\.9"):
            builder.build(BuildSpec(run_id="contract", context=str(source)), RecordedLog())

    def test_missing_base_image_is_an_error(self, builds: None, builder: Builder, source: Path) -> None:
        (source / "Dockerfile").write_text("FROM 127.0.0.1:9/there/is-none:1\n")
        with pytest.raises(BuildError):
            builder.build(BuildSpec(run_id="contract", context=str(source)), RecordedLog())

    def test_missing_dockerfile_is_an_error(self, builds: None, builder: Builder, source: Path) -> None:
        with pytest.raises(BuildError, match=r"Dockerfile\.none"):
            builder.build(
                BuildSpec(run_id="contract", context=str(source), dockerfile="Dockerfile.none"), RecordedLog()
            )

    def test_any_bytes_survive_in_the_log(
        self, builds: None, build: Callable[..., tuple[BuiltImage, RecordedLog]]
    ) -> None:
        _, log = build(r"RUN printf 'before \377\200 after\n'")
        assert b"before" in log.data
        assert b"after" in log.data

    def test_serves_several_threads(
        self, builds: None, builder: Builder, base_image: str, tmp_path: Path, remove_image: Callable[..., None]
    ) -> None:
        images: list[BuiltImage | BaseException] = []

        def run(number: int) -> None:
            folder = tmp_path / str(number)
            folder.mkdir()
            (folder / "Dockerfile").write_text(f"FROM {base_image}\nENV NUMBER={number}-{os.urandom(4).hex()}\n")
            try:
                images.append(builder.build(BuildSpec(run_id="contract", context=str(folder)), RecordedLog()))
            except BaseException as error:
                images.append(error)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        built = [image for image in images if isinstance(image, BuiltImage)]
        for image in built:
            remove_image(image)
        assert len(built) == 3, images
        assert len({image.uri for image in built}) == 3
