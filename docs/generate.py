"""Write the generated parts of the documentation: ``python docs/generate.py``; with ``--check`` only compare.

Generated are the pages of ``reference/`` and, in all pages, the code blocks that follow ``<!-- include: path -->``.
"""

from __future__ import annotations

import inspect
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
NOTE = "<!-- written by docs/generate.py; do not edit -->\n"
WIDTH = 100


def hooks() -> str:
    """The hooks, from the specification."""
    from windlass.plugins import hookspec

    parts = ["# Hooks\n", NOTE, inspect.cleandoc(hookspec.__doc__ or ""), ""]
    source = inspect.getsource(hookspec)
    for title, marker in (("Providers", "# -- providers"), ("Events", "# -- events")):
        parts.append(f"## {title}\n")
        section = source[source.index(marker) :]
        section = section[: section.find("# -- ", 5)] if "# -- " in section[5:] else section
        for name in re.findall(r"^def (windlass_\w+)\(", section, re.MULTILINE):
            hook = getattr(hookspec, name)
            parts.append(f"### `{name}{_signature(hook)}`\n\n{inspect.cleandoc(hook.__doc__ or '')}\n")
    return "\n".join(parts)


def _signature(hook: Any) -> str:
    return str(inspect.signature(hook)).replace("'", "")


_ERRORS = """\
Every error has a stable code, which is also in a run's reason and in HTTP problems. With `--json`, a command that fails
prints the error as one line of JSON, the last one on stderr; what is on stdout stays JSON, too, or is empty. The exit
code is the same as without:

```json
{"code": "artifact-not-found", "message": "…", "where": "", "hint": "…", "context": {}, "retryable": false}
```

`where` names a file and line, a path such as `$.policy.deadline`, or an argument. A `config` error lists all that is
wrong in `context.problems`, each with `message`, `where` and `hint`. Two codes belong to no class below: `system` (the
operating system refused, exit code 1) and `internal` (a bug, exit code 1).
"""


def errors() -> str:
    """The errors, from the tree."""
    from windlass import errors as tree

    kinds = [kind for kind in tree.all_errors() if kind.__module__ == tree.__name__]
    rows = ["| code | error | exit code | meaning |", "|---|---|---|---|"]
    for kind in sorted(kinds, key=lambda kind: kind.code):
        meaning = " ".join(inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].split())
        rows.append(f"| `{kind.code}` | `{kind.__name__}` | {kind.exit_code} | {meaning} |")
    return "\n".join(["# Errors\n", NOTE, _ERRORS, inspect.cleandoc(tree.__doc__ or ""), "", *rows, ""])


def plugins() -> str:
    """The settings of all plugins of this repository, from their config classes."""
    from windlass.plugins.app import KINDS, App

    ours = {tomllib.loads(path.read_text())["project"]["name"] for path in ROOT.glob("plugins/*/*/pyproject.toml")}
    parts = ["# Plugins\n", NOTE, "The same, for what is installed: `windlass plugins show KIND NAME`.\n"]
    app = App()
    for kind in KINDS:
        infos = [info for info in app.catalog(kind).infos() if info.distribution in ours]
        if infos:
            parts.append(f"## {kind.capitalize()}\n")
        for info in infos:
            descriptor = app.catalog(kind).get(info.name)
            parts.append(f"### `{info.name}` ({info.distribution})\n\n{descriptor.summary}\n")
            parts += _table(descriptor.config, "No settings.")
            if getattr(descriptor, "resource_args", None) is not None:
                parts.append("Queue config (`windlass queue create --config`, `-R`):\n")
                parts += _table(descriptor.resource_args, "No keys.")
    return "\n".join(parts)


def _table(config: type[Any], empty: str) -> list[str]:
    from windlass.config.schema import keys

    rows = [f"| `{k.name}` | {_cell(k.type)} | {_default(k)} | {_cell(k.help)} |" for k in keys(config)]
    return ["| key | type | default | meaning |", "|---|---|---|---|", *rows, ""] if rows else [f"{empty}\n"]


def _default(key: Any) -> str:
    if key.required:
        return "required"
    return "" if key.default in (None, "", [], {}) else f"`{_cell(str(key.default))}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def cli() -> str:
    """The command line, from its help texts."""
    from windlass_cli.main import cli as command

    parts = ["# Command line\n", NOTE]
    for path, text in _helps(command, ("windlass",), None):
        parts.append(f"{'#' * min(len(path) + 1, 4)} `{' '.join(path)}`\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def _helps(command: Any, path: tuple[str, ...], parent: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    import click

    settings = {**command.context_settings, "terminal_width": WIDTH}
    with click.Context(command, info_name=path[-1], parent=parent, **settings) as context:
        yield path, command.get_help(context)
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                yield from _helps(command.get_command(context, name), (*path, name), context)


_VARIABLES: dict[str, dict[str, str]] = {
    "Artifacts": {
        "WINDLASS_CACHE_SIZE": "the most that the cache of artifacts may take: `20GB`, `512MiB`. Default: a tenth of "
        "its disk.",
        "WINDLASS_ARTIFACT_LINK": "how downloads share content with the cache: `auto`, `hard` (links to read-only "
        "files) or `copy`. Default `auto`.",
        "WINDLASS_DIGEST": "digest of new content: `blake3` or `sha256`. Default `blake3`; keep to one for a store.",
        "WINDLASS_ALLOW_CODE": "`1`: read pickles of entities that are not trusted, too; they may run any code.",
        "WINDLASS_SIGNING_KEY": "key of `windlass run provenance`: a file, or a secret reference such as `env/NAME`.",
    },
    "Commands and agents": {
        "WINDLASS_DEBUG": "`1`: show the traceback of an error, as `-vv` does.",
        "WINDLASS_PLUGIN_TIMEOUT": "seconds that the import of a plugin may take. Default 30.",
        "WINDLASS_DISABLE_JOB_CREATION": "`true`: make no job from a run of the SDK.",
        "WINDLASS_LAUNCH_QUEUES": "queues of `windlass launch-agent`, separated by commas.",
        "WINDLASS_LAUNCH_MAX_JOBS": "runs at the same time of `windlass launch-agent`.",
        "WINDLASS_TEST_REQUIRE": "services that a test of a plugin must find, separated by commas, or `all`.",
    },
    "In a launched job": {
        "WINDLASS_LAUNCH": "`true`: this process is a launched run; the SDK goes on with that.",
        "WINDLASS_JOB": "path of the job that runs.",
        "WINDLASS_QUEUE": "name of the queue it came from.",
        "WINDLASS_LAUNCH_FILE_OVERRIDES": "values for config files (JSON), as `WINDLASS_CONFIG` has those of the run's "
        "config. Where one is long, it is cut into `NAME_0`, `NAME_1` …",
        "WINDLASS_CHECKPOINT_DIR": "directory that all attempts of the run share (`run.checkpoint_dir`).",
    },
}
"""Those that are no fields of the settings class, by who reads them."""


_HOME = """\

## Files in `WINDLASS_HOME`

| file | meaning |
|---|---|
| `windlass.db` | The metadata store, where `WINDLASS_BASE_URL` names none. |
| `blobs/` | Bytes of artifacts, until `windlass store blobs URI` takes another place. |
| `credentials.json` | What `windlass login` keeps; only its owner can read it. |
| `storage.yaml` | Settings of storages by plugin name, e.g. `s3: {region: eu-west-1}`: [keys](plugins.md#storage). |
| `trust.yaml` | Whose pickles are loaded, see below. |
| `cache/` | Copies that may be deleted. |
| `spool/` | What runs could not send yet; the next run sends it. |
| `work/`, `runs/`, `checkpoints/` | What agents of this machine work with. |

### trust.yaml
"""


def settings() -> str:
    """The environment variables, from the settings class and the table above."""
    from windlass.settings import Settings
    from windlass.trust.policy import TrustConfig, TrustedKey

    rows = ["# Settings\n", NOTE, "Arguments win over the environment, the environment over defaults.\n"]
    rows += ["| variable | meaning |", "|---|---|"]
    text = inspect.cleandoc(Settings.__doc__ or "")
    for entry in re.findall(r"^    \w+: (.+(?:\n        .+)*)", text[text.index("Attributes:") :], re.MULTILINE):
        words = " ".join(entry.split())
        match = re.match(r"``(WINDLASS_\w+)``(?: \(JSON\))?[.:]? *(.*)", words)
        if match:
            rows.append(f"| `{match[1]}` | {_cell(match[2])} |")
    for title, found in _VARIABLES.items():
        rows += ["", f"## {title}\n", "| variable | meaning |", "|---|---|"]
        rows += [f"| `{name}` | {_cell(text)} |" for name, text in found.items()]
    rows += [_HOME, *_table(TrustConfig, ""), "A key in `trusted-keys`:\n", *_table(TrustedKey, "")]
    return "\n".join(rows)


_LAUNCH_CONFIG = """\
The file of `windlass launch-agent`, of `windlass launch` without a queue, and of `windlass doctor`. It is read from
`$XDG_CONFIG_HOME/windlass/launch-config.yaml`, which is `~/.config/windlass/launch-config.yaml` by default, or, by
`launch-agent` and `doctor`, from the path given with `-c`. Flags win over the environment (`WINDLASS_ENTITY`,
`WINDLASS_LAUNCH_QUEUES`, separated by commas, `WINDLASS_LAUNCH_MAX_JOBS`), that over the file, the file over defaults.
Every key may be left out; an unknown one is an error that names its line and the nearest known key.
"""

_LAUNCH_EXAMPLE = """\
## Example

```yaml
entity: team
queues: [gpu, nightly]
weights: {gpu: 3}                      # three items of gpu for each of nightly
slots: {cpu: 16, memory: 64GiB, gpu: [0, 1]}
builder: {type: docker, destination: registry.example.com/team/jobs}
registry: {type: oci, uri: registry.example.com/team/jobs}
runners:
  docker: {allow-env: [HTTP_PROXY, "AWS_*"]}
storage:
  s3: {endpoint-url: "http://127.0.0.1:9000"}
git:
  git.example.com: {username: robot, token: env/GIT_TOKEN}
secrets:
  DATABASE_PASSWORD: {secret: file//run/secrets/database}
```

`runners`, `storage`, `registry`, `builder` and `environment` take the settings of the plugin that is named; they are
listed in [plugins](plugins.md). Values of secrets never stand in the file, only where they are: `env/NAME`, a variable
of the agent, or `file/PATH`.
"""


def launch_config() -> str:
    """The agent's configuration, from its class."""
    from windlass_agent.config import AgentConfig, GitHost

    parts = ["# launch-config.yaml\n", NOTE, _LAUNCH_CONFIG, _LAUNCH_EXAMPLE, "## Keys\n"]
    parts += [*_table(AgentConfig, ""), "## Keys of a host in `git`\n", *_table(GitHost, "")]
    return "\n".join(parts)


_JSON = """\
With `--json` a command prints one JSON document on stdout: an object, or an array where several things are listed.
Times are texts in ISO 8601 (UTC), or null for "not yet"; sizes are bytes. Keys are added, never renamed or removed
within a major version. What goes wrong is on stderr, as [one line of JSON](errors.md). The exit code is 0 only when
what was asked happened.
"""


def json_keys() -> str:
    """The JSON of the command line, by command and by noun."""
    from windlass_cli.json_keys import OUTPUTS
    from windlass_cli.json_shapes import SHAPES, keys_of

    def link(shape: str) -> str:
        return f"[{shape}](#{shape.replace(' ', '-')})"

    parts = ["# JSON of the command line\n", NOTE, _JSON, "## Commands\n"]
    parts += ["| command | prints |", "|---|---|"]
    for command, outputs in sorted(OUTPUTS.items()):
        cases = []
        for output in outputs:
            what = f"an array, each {link(output.shape)}" if output.many else link(output.shape)
            more = "".join(f"; `{key}`: {text.rstrip('.')}" for key, text in output.more.items())
            cases.append(f"{output.when}{': ' if output.when else ''}{what}{more}")
        parts.append(f"| `windlass {command}` | {_cell(' · '.join(cases))} |")
    parts += ["", "## Keys\n"]
    for shape in sorted(SHAPES):
        rows = [f"| {'any' if key == '*' else f'`{key}`'} | {_cell(text)} |" for key, text in keys_of(shape).items()]
        parts += [f"### {shape}\n", "| key | meaning |", "|---|---|", *rows, ""]
    return "\n".join(parts)


_PYTHON = """\
Names are loaded when they are first used: `import windlass` loads nothing else. All are typed. Here stands the first
paragraph of each docstring; `help(windlass.init)` shows arguments, types and errors.
"""
_INSIDE = {
    "about_to_end", "adopt_job", "app", "bind", "check_manifest", "content", "default_root", "forked", "from_media",
    "internal", "lend", "note", "of", "origins", "plain_metadata", "take_over", "target", "to_media",
}  # fmt: skip
"""What other parts of Windlass call, and nobody else."""
_HEAD = ("| name | meaning |", "|---|---|")


def python() -> str:
    """The Python interface, from its signatures and docstrings."""
    import windlass
    from windlass.artifacts import media
    from windlass.launch.request import LaunchRequest
    from windlass.sdk import launch
    from windlass.sdk.api import RecordedRun

    names = [name for name in windlass.__all__ if name not in ("__version__", "run", "sdk", "summary")]
    found = {name: getattr(windlass, name) for name in names}
    rows = [_row(name, thing) for name, thing in found.items() if inspect.isfunction(thing)]
    parts = ["# Python\n", NOTE, _PYTHON, "## windlass\n", *_HEAD, *rows]
    parts += ["| `run`, `summary` | The active run, or None, and its summary. |", ""]
    for kind in (windlass.Run, windlass.Artifact, windlass.Table, windlass.Api, RecordedRun, windlass.App):
        made = [] if kind in (windlass.Run, RecordedRun) else [_row(kind.__name__, kind)]
        kept = _attributes(kind)[2:-1] if "Attributes:" in (kind.__doc__ or "") else []
        parts += [f"## {kind.__name__}\n", f"{_first(kind)}\n", *_HEAD, *made, *kept, *_members(kind), ""]
    kinds = [_row(name, thing) for name, thing in found.items() if getattr(thing, "__module__", "") == media.__name__]
    parts += ["## Media\n", *_HEAD, *kinds, "", "## Settings\n", f"{_first(windlass.Settings)}\n"]
    parts += [*_attributes(windlass.Settings), "## windlass.sdk.launch\n", *_HEAD]
    parts += [*(_row(name, getattr(launch, name)) for name in launch.__all__), ""]
    parts += ["`launch` and `launch_add` take, and `Api.create_trigger` as far as it fits:\n"]
    return "\n".join([*parts, *_attributes(LaunchRequest)])


def _row(name: str, thing: Any) -> str:
    return f"| `{name}{_cell(_call(thing))}` | {_cell(_first(thing))} |"


def _call(thing: Any) -> str:
    if not callable(thing):
        return ""
    signature = inspect.signature(thing)
    given = [p.replace(annotation=p.empty) for p in signature.parameters.values() if p.name not in ("self", "cls")]
    return str(signature.replace(parameters=given, return_annotation=signature.empty))


def _first(thing: Any) -> str:
    return " ".join(inspect.cleandoc(thing.__doc__ or "").split("\n\n")[0].split())


def _members(kind: type[Any]) -> list[str]:
    own = [base for base in reversed(kind.__mro__) if base.__module__.startswith("windlass")]
    found = {name: member for base in own for name, member in vars(base).items()}
    return [
        _row(name, member)
        for name, member in found.items()
        if not name.startswith("_")
        and name not in _INSIDE
        and (inspect.isfunction(member) or isinstance(member, property))
    ]


def _attributes(kind: type[Any]) -> list[str]:
    text = inspect.cleandoc(kind.__doc__ or "")
    entries = re.findall(r"^    ([\w, ]+): (.+(?:\n        .+)*)", text[text.index("Attributes:") :], re.MULTILINE)
    rows = [f"| `{name.replace(', ', '`, `')}` | {_cell(' '.join(words.split()))} |" for name, words in entries]
    return [*_HEAD, *rows, ""]


PAGES = {
    "hooks": hooks, "errors": errors, "plugins": plugins, "cli": cli, "settings": settings, "json": json_keys,
    "launch-config": launch_config, "python": python,
}  # fmt: skip
_INCLUDE = re.compile(r"<!-- include: (\S+) -->\n```(\w*)[^\n]*\n.*?\n```\n", re.DOTALL)


def included(text: str) -> str:
    """A page with its included files as they are now."""

    def fill(match: re.Match[str]) -> str:
        content = (ROOT / match[1]).read_text(encoding="utf-8").rstrip("\n")
        return f"<!-- include: {match[1]} -->\n```{match[2]} file={Path(match[1]).name}\n{content}\n```\n"

    return _INCLUDE.sub(fill, text)


def adr_index() -> str:
    """The list of decisions, from their first lines."""
    rows = [f"- [{p.read_text().splitlines()[0].lstrip('# ')}]({p.name})" for p in sorted((DOCS / "adr").glob("0*.md"))]
    about = "Context, options, decision, consequences, and when a change violates it: one page a decision.\n"
    return "\n".join(["# Decisions\n", NOTE, about, *rows, ""])


def pages() -> dict[Path, str]:
    """All generated text by file."""
    found = {DOCS / "reference" / f"{name}.md": make() for name, make in PAGES.items()}
    found[DOCS / "adr" / "README.md"] = adr_index()
    for path in sorted(DOCS.rglob("*.md")):
        if path not in found and "<!-- include:" in path.read_text(encoding="utf-8"):
            found[path] = included(path.read_text(encoding="utf-8"))
    return found


def main(check: bool) -> int:
    """Write what differs; with `check`, name it and return 1."""
    stale = []
    for path, text in pages().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.relative_to(ROOT).as_posix())
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    for name in stale:
        sys.stdout.write(f"{'stale' if check else 'wrote'} {name}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
