"""Build contexts, generated Dockerfiles, requirements, wheels and tags."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile

import pytest
from attrs import evolve

from windlass.errors import ConfigError, UsageError
from windlass.launch.buildlog import build_error
from windlass.launch.context import context_digest, make_context
from windlass.launch.dockerfile import ImagePlan, generate, without_cache_mounts
from windlass.launch.imagetag import base_images, content_tag
from windlass.launch.requirements import find_requirements, python_version
from windlass.launch.wheels import job_requirements, pack_wheels
from windlass.models.job import JobSource, SourceKind
from windlass.models.launch import LaunchSpec
from windlass.models.queue import Queue
from windlass.models.run import Run

QUEUE = Queue(entity="team", name="q", resource="boxes")


@pytest.fixture
def make(code, tmp_path):
    """Makes a context of the code with changes to the source."""

    def run(spec=None, queue=QUEUE, name="context", **source):
        given = JobSource(kind=SourceKind.CODE, entry_point=("python", "main.py"), **source)
        asked = evolve(spec or LaunchSpec(source=given, job="team/demo/My_Job:v0"), source=given)
        return make_context(Run(id="r1", spec=asked), code, tmp_path / name, queue=queue, cache_dir=tmp_path / "cache")

    return run


def _files(context):
    return {p.relative_to(context).as_posix() for p in context.rglob("*") if p.is_file() and p.suffix != ".whl"}


def test_a_generated_context(make, code):
    (code / "requirements.txt").write_text(
        "numpy>=2  # array\nwindlass>=0.17.1\n-r more/extra.txt\nwindlass-core[x]==9\n"
    )
    (code / "more").mkdir()
    (code / "more" / "extra.txt").write_text("six\n")
    (code / ".dockerignore").write_text("*.log\n")
    prepared = make()
    assert (prepared.dockerfile, prepared.name, prepared.generated) == ("Dockerfile.windlass", "windlass/my-job", True)
    assert _files(prepared.context) == {
        "Dockerfile.windlass",
        "src/main.py",
        "src/run.sh",
        "src/pkg/mod.py",
        "src/.gitignore",
        "src/requirements.txt",
        "src/more/extra.txt",
        ".windlass/requirements/requirements.txt",
        ".windlass/requirements/more/extra.txt",
    }
    wanted = (prepared.context / ".windlass/requirements/requirements.txt").read_text().splitlines()
    assert wanted == ["numpy>=2", "-r more/extra.txt"]
    text = (prepared.context / "Dockerfile.windlass").read_text()
    assert text.index("requirements.txt") < text.index("wheels/") < text.index("COPY --chown")
    assert json.loads(text.splitlines()[-1].removeprefix("ENTRYPOINT ")) == ["python", "main.py"]
    assert "\nUSER 1000:0\n" in text


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"pyproject.toml": '[project]\nname = "x"\n', "src/x/__init__.py": ""}, "/src"),
        ({"setup.py": "", "x/__init__.py": ""}, ""),
        ({"pyproject.toml": "[tool.ruff]\n", "src/x/__init__.py": ""}, None),
    ],
)
def test_a_project_is_importable_in_its_image(make, code, files, wanted):
    for name, text in files.items():
        (code / name).parent.mkdir(parents=True, exist_ok=True)
        (code / name).write_text(text)
    lines = (make().context / "Dockerfile.windlass").read_text().splitlines()
    found = [line for line in lines if "PYTHONPATH" in line]
    code_folder = next(line for line in lines if line.startswith("WORKDIR ")).removeprefix("WORKDIR ")
    assert found == ([] if wanted is None else [f"ENV PYTHONPATH={code_folder}{wanted}${{PYTHONPATH:+:$PYTHONPATH}}"])


def test_the_same_source_gives_the_same_digest(make, code):
    first = context_digest(make(name="a").context)
    os.utime(code / "main.py", (1, 1))
    assert context_digest(make(name="b").context) == first
    (code / "main.py").write_text("changed")
    assert context_digest(make(name="c").context) != first


def test_dockerfiles_by_rank(make, code):
    (code / "pkg" / "Dockerfile.job").write_text("FROM a\n")
    (code / "pkg" / "Dockerfile.windlass").write_text("FROM b\n")
    assert make(name="0").generated
    (code / "Dockerfile").write_text("FROM c\n")
    unasked = make(name="0b")
    assert (unasked.dockerfile, unasked.generated) == ("Dockerfile", False)
    assert unasked.notes == ("Dockerfile: Dockerfile, found in the build context",)
    found = make(name="1", build_context="pkg", dockerfile="Dockerfile.job")
    assert (found.dockerfile, found.generated) == ("Dockerfile.job", False)
    assert _files(found.context) == {"mod.py", "Dockerfile.job", "Dockerfile.windlass"}
    assert make(name="2", build_context="pkg").dockerfile == "Dockerfile.windlass"
    asked = LaunchSpec(source=JobSource(kind=SourceKind.CODE), dockerfile="pkg/Dockerfile.job")
    assert make(asked, name="3").dockerfile == "pkg/Dockerfile.job"


def test_a_dockerfile_of_ones_own_may_ask_for_windlass(make, code):
    (code / "Dockerfile").write_text("FROM a\n")
    assert not (make(name="1").context / ".windlass").exists()
    (code / "Dockerfile").write_text("FROM a\nCOPY .windlass/ /tmp/windlass/\n")
    context = make(name="2").context
    assert "windlass-core==" in (context / ".windlass" / "windlass.txt").read_text()
    assert any(p.name.startswith("windlass_core-") for p in (context / ".windlass" / "wheels").iterdir())


def test_the_dockerfile_is_never_ignored(make, code):
    (code / "Dockerfile.x").write_text("FROM a\n")
    (code / ".dockerignore").write_text("*\n!main.py\n")
    assert _files(make(dockerfile="Dockerfile.x").context) == {"Dockerfile.x", "main.py"}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"build_context": "nope"}, "no directory"),
        ({"build_context": "../.."}, "'..'"),
        ({"dockerfile": "nope"}, "no file"),
        ({"build_context": "out"}, "leads out"),
        ({"dockerfile": "/etc/passwd"}, "not relative"),
        ({"python": "3.8"}, "too old"),
    ],
)
def test_sources_that_do_not_fit(make, code, source, message):
    (code / "out").symlink_to("/")
    with pytest.raises(ConfigError, match=message) as caught:
        make(**source)
    assert caught.value.where


def test_links_do_not_bring_in_the_hosts_files(make, code, tmp_path):
    (tmp_path / "secret.txt").write_text("hush")
    (code / "requirements.txt").symlink_to(tmp_path / "secret.txt")
    (code / "leak").symlink_to(tmp_path / "secret.txt")
    context = make().context
    assert (context / "src" / "leak").is_symlink()
    assert not (context / ".windlass" / "requirements").exists()


def test_base_images_by_rank(make, code):
    def first(**kwargs):
        return (make(**kwargs).context / "Dockerfile.windlass").read_text().splitlines()[1]

    queue = evolve(
        QUEUE, config={"builder": {"accelerator": {"base_image": "vendor/cuda:1"}, "base_image": "q/base:1"}}
    )
    plain = evolve(QUEUE, config={"boxes": {"builder": {"base_image": "q/base:1"}}})
    assert first(name="1", python="3.12") == "FROM python:3.12-slim-bookworm AS base"
    assert first(name="2", queue=queue, base_image="job/base:1") == "FROM vendor/cuda:1 AS base"
    assert first(name="3", queue=plain, base_image="job/base:1") == "FROM job/base:1 AS base"
    assert first(name="4", queue=plain) == "FROM q/base:1 AS base"
    asked = LaunchSpec(source=JobSource(kind=SourceKind.CODE), base_image="my/base:1")
    assert first(name="5", spec=asked, queue=queue) == "FROM my/base:1 AS base"
    with pytest.raises(UsageError):
        make(name="6", base_image="evil\nRUN x")
    with pytest.raises(ConfigError):
        make(name="7", queue=evolve(QUEUE, config={"builder": {"base_image": 5}}))


def test_dockerfile_words_cannot_break_out():
    plan = ImagePlan(python="3.12", command=("python", 'a"\nRUN evil', "$HOME"))
    last = generate(plan).splitlines()[-1]
    assert json.loads(last.removeprefix("ENTRYPOINT ")) == list(plan.command)
    assert "--mount" not in without_cache_mounts(generate(evolve(plan, requirements=True)))
    assert without_cache_mounts("RUN --mount=type=cache,target=/root/.cache/pip x") != "RUN x"


def test_accelerators_get_a_python():
    text = generate(ImagePlan(python="3.12", base_image="vendor/cuda:1", accelerator=True))
    assert "apt-get install -y --no-install-recommends python3.12" in text
    assert "--system-site-packages" in text


# -- requirements ---------------------------------------------------------------------------------------------------


def test_requirements_by_rank(tmp_path):
    assert find_requirements(tmp_path, ["a==1"]).origin == "job"
    (tmp_path / "pyproject.toml").write_text('[project]\nname="x"\ndependencies=["b", "windlass"]\n')
    found = find_requirements(tmp_path, ["a==1"])
    assert (found.origin, found.lines) == ("pyproject.toml", ("b",))
    (tmp_path / "requirements.txt").write_text("c \\\n  ==1\n-e .\n")
    found = find_requirements(tmp_path)
    assert (found.origin, found.lines, found.needs_code) == ("requirements.txt", ("c    ==1", "-e ."), True)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("requirements.txt", "-r ../x.txt", "'..'"),
        ("requirements.txt", "-c none.txt", "no file"),
        ("pyproject.toml", "[project", "TOML"),
        ("pyproject.toml", '[project]\ndependencies="x"', "list of texts"),
        ("requirements.txt", "\udcff", "UTF-8"),
    ],
)
def test_requirements_that_cannot_be_read(tmp_path, name, text, message):
    (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match=message) as caught:
        find_requirements(tmp_path)
    assert name in caught.value.where


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, f"3.{sys.version_info.minor}"),
        ({"runtime.txt": "python-3.12.4\n"}, "3.12"),
        ({".python-version": "\n3.13\n3.12\n"}, "3.13"),
        ({"runtime.txt": "3.12", ".python-version": "3.13"}, "3.12"),
        ({"pyproject.toml": '[project]\nrequires-python=">=3.13"'}, "3.14"),
        ({"pyproject.toml": '[project]\nrequires-python=">=3.8,<3.12"'}, "3.11"),
        ({"pyproject.toml": '[project]\nrequires-python="==3.12.*"'}, "3.12"),
        ({"pyproject.toml": '[project]\nrequires-python="~=3.12.1"'}, "3.12"),
    ],
)
def test_python_versions(tmp_path, monkeypatch, files, expected):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    if sys.version_info.minor != 11 and "requires-python" in str(files):
        pytest.skip("written for 3.11 here")
    assert python_version(tmp_path) == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("runtime.txt", "ruby-3"),
        (".python-version", "2.7"),
        ("runtime.txt", "3.9"),
        ("pyproject.toml", '[project]\nrequires-python="<3.9"'),
        ("pyproject.toml", '[project]\nrequires-python="x"'),
    ],
)
def test_python_versions_that_do_not_fit(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as caught:
        python_version(tmp_path)
    assert name in caught.value.where


# -- wheels ---------------------------------------------------------------------------------------------------------


def test_wheels_are_whole_and_always_the_same(tmp_path):
    names = pack_wheels(tmp_path / "a", tmp_path / "cache1")
    again = pack_wheels(tmp_path / "b", tmp_path / "cache2")
    assert names == again
    assert any(name.startswith("windlass_core-") for name in names)
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
        with zipfile.ZipFile(tmp_path / "a" / name) as wheel:
            assert wheel.testzip() is None
            assert sum(entry.endswith(".dist-info/RECORD") for entry in wheel.namelist()) == 1


def test_packed_wheels_can_be_used(tmp_path):
    pack_wheels(tmp_path / "w", tmp_path / "cache")
    core = next(path for path in (tmp_path / "w").iterdir() if path.name.startswith("windlass_core-"))
    with zipfile.ZipFile(core) as wheel:
        wheel.extractall(tmp_path / "site")
    code = "import windlass, windlass.launch.plan as p, importlib.metadata as m; print(windlass.__file__, m.version('windlass-core'))"  # noqa: E501
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert str(tmp_path / "site") in done.stdout
    assert job_requirements()[0][0].split("==")[1] in done.stdout


def test_a_job_can_write_toml_files(tmp_path):
    pytest.importorskip("tomlkit")
    assert job_requirements()[0][-1] == "tomlkit", "in any version, as the job may ask for one"
    assert any(name.startswith("tomlkit-") for name in pack_wheels(tmp_path / "w", tmp_path / "cache"))


# -- tags and logs --------------------------------------------------------------------------------------------------


def test_base_images_of_a_dockerfile():
    text = (
        "# syntax=docker/dockerfile:1\n# comment\nARG V=3.12\nARG W\nFROM --platform=linux/amd64 python:${V} AS build\n"
        "RUN <<EOF\nFROM not-this\nEOF\nFROM build\nCOPY --from=build /a /b\nCOPY --from=other/image:1 /a /b\n"
        "RUN --mount=type=bind,from=third,target=/x \\\n  # inner comment\n  true\nFROM scratch\nFROM ${W:-plain}\n"
        "COPY --from=0 /a /b\nfrom low AS x\nFROM $V\n"
    )
    assert base_images(text, {"V": "3.13"}) == (
        "docker/dockerfile:1",
        "python:3.13",
        "other/image:1",
        "third",
        "plain",
        "low",
        "3.13",
    )


def test_an_endless_dockerfile_keeps_nobody_waiting():
    doubled = "\n".join(["ARG A0=x", *(f"ARG A{i}=$A{i - 1}$A{i - 1}" for i in range(1, 60)), "FROM $A59"])
    (image,) = base_images(doubled, {})
    assert len(image) < 10_000
    for line in ("COPY ", "--mount=", "--mount=from", "$A", "${A:-", "a \\\n", "<<", "<< "):
        base_images("RUN " + line * 100_000, {})
    assert base_images("ONBUILD COPY --from=img /a /b\nRUN --mount=from=x,type=bind true", {}) == ("img", "x")


def test_tags_depend_on_everything(tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM a\n")
    given = {"dockerfile": "Dockerfile", "platform": "linux/amd64", "bases": {"a": "sha256:1"}, "build_args": {}}
    tags = {content_tag(tmp_path, **given)}
    for key, value in {
        "dockerfile": "D",
        "platform": "linux/arm64",
        "bases": {"a": "sha256:2"},
        "build_args": {"x": ""},
    }.items():
        tags.add(content_tag(tmp_path, **{**given, key: value}))
    assert len(tags) == 5
    assert all(len(tag) == 64 for tag in tags)


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ("ERROR: No matching distribution found for torchh==9", "torchh==9"),
        ("ERROR: Could not find a version that satisfies the requirement foo>9 (from versions: 1)", "foo>9"),
        ("ERROR: Failed building wheel for bar", "bar"),
        ("ERROR: Invalid requirement: 'a b'", "a b"),
        ("  × No solution found\n  ╰─▶ Because qux was not found in the package registry", "qux"),
        ("E: Unable to locate package libfoo", "libfoo"),
        ("The command '/bin/sh -c false' returned a non-zero code: 1", "/bin/sh -c false"),
        (" > [2/2] RUN false:\n------\nexecutor failed", "RUN false"),
        (' > [2/2] RUN sh -c "exit 3":\n------', 'RUN sh -c "exit 3"'),
        (
            " > [internal] load metadata for docker.io/team/base:1:\n------\nfailed to solve: pull access denied",
            "the base image team/base:1 cannot be had: pull access",
        ),
        ("COPY failed: no source files", "no source files"),
        ("", "the build failed"),
    ],
)
def test_build_errors_say_what_failed(log, message):
    error = build_error(log)
    assert message in error.message
    assert not error.retryable


UV = """
Because cattrs>=25.3.0 depends on typing-extensions>=4.14.0 and typing-extensions==4.0.0, we can conclude that \
cattrs>=25.3.0 cannot be used.
And because all versions of windlass-core depend on cattrs>=25.1 and you require windlass-core==1.0, we can conclude …
"""
PIP = """
    cattrs 25.3.0 depends on typing-extensions>=4.14.0
    The user requested (constraint) typing-extensions==4.0.0
"""


@pytest.mark.parametrize("log", [UV, PIP])
def test_a_pin_that_conflicts_with_windlass_is_named_with_what_that_needs(log):
    error = build_error(log)
    for word in ("asks for typing-extensions==4.0.0", "Windlass, which", "needs typing-extensions>=4.14.0"):
        assert word in error.message
    assert "a version of typing-extensions that fits both" in error.hint
    assert error.context == {"package": "typing-extensions==4.0.0", "needs": "typing-extensions>=4.14.0"}
    alone = "Because b==1 depends on a>=2 and a==1, we can conclude that your requirements are unsatisfiable."
    assert "Windlass" not in build_error(alone).message


def test_a_mistake_in_a_dockerfile_has_its_line():
    start = "failed to solve with frontend dockerfile.v0: failed to create LLB definition: "
    for log in (f"{start}dockerfile parse error line 7: unknown instruction: RUNN",
                "dockerfile parse error on line 7: unknown instruction: RUNN (did you mean RUN?)"):  # fmt: skip
        error = build_error(log)
        assert error.message.startswith("unknown instruction: RUNN")
        assert error.where == "line 7 of the Dockerfile"


def test_network_faults_are_retryable():
    assert build_error("dial tcp: lookup x: Temporary failure in name resolution").retryable


def test_a_script_that_is_not_there_is_named(make):
    asked = LaunchSpec(
        source=JobSource(kind=SourceKind.GIT), job="team/demo/My_Job:v0", entry_point=("python", "trian.py")
    )
    with pytest.raises(ConfigError, match=r"no file 'trian.py' .*'python trian.py'") as caught:
        make(asked)
    assert "main.py" in caught.value.hint
