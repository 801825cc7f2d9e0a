"""The commands, what they do in a line, and where their code is. Nothing is imported until one is called."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["GROUPS", "LazyGroup"]

_C = "windlass_cli.commands"

GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "": {
        "launch": (f"{_C}.launch:launch", "Run a directory, git URI, image or job: here and now, or on a queue."),
        "launch-agent": (f"{_C}.agent:launch_agent", "Take items off queues, build and run them."),
        "queue": (f"{_C}.queue:queue", "Queues of launch requests."),
        "run": (f"{_C}.run:run", "Runs: state, logs, stop, retry."),
        "job": (f"{_C}.job:job", "Jobs: blueprints that can be launched again."),
        "artifact": (f"{_C}.artifact:artifact", "Artifacts: put, get, list, compare, verify."),
        "agent": (f"{_C}.agent:agent", "Agents at work."),
        "plugins": (f"{_C}.plugins:plugins", "Installed plugins, their settings, and whether they work."),
        "trigger": (f"{_C}.trigger:trigger", "Start jobs when artifacts change, or by the clock."),
        "budget": (f"{_C}.budget:budget", "What runs may use in a month, and what they cost."),
        "access": (f"{_C}.access:access", "Users, API keys and roles."),
        "store": (f"{_C}.store:store", "Where the bytes of a store are; copies of stores."),
        "server": (f"{_C}.server:server", "Serve the API over HTTP."),
        "login": (f"{_C}.login:login", "Keep the address and key of a server."),
        "doctor": (f"{_C}.doctor:doctor", "Find out what works here and what does not."),
    },
    "queue": {
        "create": (f"{_C}.queue:create", "Create a queue."),
        "list": (f"{_C}.queue:list_", "List queues."),
        "show": (f"{_C}.queue:show", "Show a queue and how full it is."),
        "update": (f"{_C}.queue:update", "Change a queue."),
        "pause": (f"{_C}.queue:pause", "Let agents take nothing from a queue."),
        "resume": (f"{_C}.queue:resume", "Let agents take from a queue again."),
        "delete": (f"{_C}.queue:delete", "Delete a queue."),
    },
    "run": {
        "list": (f"{_C}.run:list_", "List runs, newest first."),
        "show": (f"{_C}.run:show", "Show a run."),
        "logs": (f"{_C}.run:logs", "Print the output of a run; -f follows it."),
        "stop": (f"{_C}.run:stop", "Ask for the end of runs."),
        "retry": (f"{_C}.run:retry", "Launch the same again as a new run."),
        "provenance": (f"{_C}.provenance:provenance", "Where a run comes from, as an in-toto statement."),
        "delete": (f"{_C}.run:delete", "Delete runs that are over."),
    },
    "job": {
        "create": (f"{_C}.job:create", "Create a job from a git URI, a directory or an image."),
        "list": (f"{_C}.job:list_", "List jobs."),
        "describe": (f"{_C}.job:describe", "Show what a job runs and which inputs it takes."),
    },
    "artifact": {
        "put": (f"{_C}.artifact:put", "Store a file, directory or URI as a version."),
        "get": (f"{_C}.artifact:get", "Download a version."),
        "ls": (f"{_C}.artifact:ls", "List versions."),
        "show": (f"{_C}.artifact:show", "Show a version and its entries."),
        "diff": (f"{_C}.artifact_check:diff", "Compare two versions."),
        "verify": (f"{_C}.artifact_check:verify", "Read every byte of a version and check it."),
        "repair": (f"{_C}.artifact_check:repair", "Restore damaged or lost bytes of a version from files."),
        "label": (f"{_C}.artifact_labels:label", "Change aliases, tags and description of a version."),
        "link": (f"{_C}.artifact_labels:link", "Make a version one of another collection, too."),
        "protect": (f"{_C}.artifact_labels:protect", "Protect aliases from being moved, their versions from deletion."),
        "rm": (f"{_C}.artifact_care:rm", "Delete versions."),
        "restore": (f"{_C}.artifact_care:restore", "Undo the deletion of a version."),
        "lineage": (f"{_C}.artifact_check:lineage", "Show what a version was made from, and what from it."),
        "scan": (f"{_C}.artifact_trust:scan", "Say what pickles would import and call."),
        "keygen": (f"{_C}.artifact_trust:keygen", "Make a key pair for signatures."),
        "sign": (f"{_C}.artifact_trust:sign", "Sign a version."),
        "gc": (f"{_C}.artifact_care:gc", "Remove the bytes that no version needs."),
        "cache": (f"{_C}.artifact_care:cache", "The local cache: size and clean-up."),
    },
    "agent": {
        "list": (f"{_C}.agent:list_", "List agents."),
        "drain": (f"{_C}.agent:drain", "Ask an agent to end when its runs are over."),
    },
    "trigger": {
        "create": (f"{_C}.trigger:create", "Create a trigger."),
        "list": (f"{_C}.trigger:list_", "List triggers."),
        "show": (f"{_C}.trigger:show", "Show a trigger."),
        "pause": (f"{_C}.trigger:pause", "Let a trigger start nothing."),
        "resume": (f"{_C}.trigger:resume", "Let a trigger go on from now."),
        "delete": (f"{_C}.trigger:delete", "Delete a trigger."),
    },
    "budget": {
        "set": (f"{_C}.budget:set_", "Set what runs may use in a month."),
        "list": (f"{_C}.budget:list_", "List budgets and what was used."),
        "remove": (f"{_C}.budget:remove", "Remove a budget."),
        "prices": (f"{_C}.budget:prices", "Show or set what runs of a queue cost."),
    },
    "access": {
        "user": (f"{_C}.access:user", "Users and service accounts."),
        "key": (f"{_C}.access:key", "API keys."),
        "member": (f"{_C}.access:member", "Roles in an entity."),
    },
    "access user": {
        "create": (f"{_C}.access:user_create", "Add a user or service account."),
        "list": (f"{_C}.access:user_list", "List users."),
    },
    "access key": {
        "create": (f"{_C}.access:key_create", "Make an API key; shown once."),
        "list": (f"{_C}.access:key_list", "List API keys."),
        "revoke": (f"{_C}.access:key_revoke", "Make an API key useless."),
    },
    "access member": {
        "set": (f"{_C}.access:member_set", "Give a user a role."),
        "list": (f"{_C}.access:member_list", "List who has which role."),
        "remove": (f"{_C}.access:member_remove", "Take a role away."),
    },
    "store": {
        "blobs": (f"{_C}.store_blobs:blobs", "Show or change where the bytes of artifacts are kept."),
        "copy": (f"{_C}.store:copy", "Copy a store into an empty one."),
        "migrate": (f"{_C}.store:migrate", "Give a database another version of the schema."),
    },
    "plugins": {
        "list": (f"{_C}.plugins:list_", "List installed plugins; imports none of them."),
        "show": (f"{_C}.plugins:show", "Show the settings of a plugin."),
        "check": (f"{_C}.plugins:check", "Find out whether a plugin would work."),
    },
}
"""Commands by group: name → (module:attribute, one line of help)."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, and whose help is known without that."""

    def __init__(self, *args: Any, commands_of: Mapping[str, tuple[str, str]] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = dict(commands_of or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        found = self._lazy.get(cmd_name)
        if found is None:
            return None
        module, _, attribute = found[0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        command.name = cmd_name
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; name the nearest one when there is none."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in self._lazy and not ctx.resilient_parsing:
            import difflib

            near = difflib.get_close_matches(name, self._lazy, n=1)
            hint = f"Did you mean '{near[0]}'?" if near else f"Commands: {', '.join(self._lazy)}."
            raise click.UsageError(f"there is no command '{name}'. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands from the texts known here."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._lazy.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete command names without importing them."""
        from click.shell_completion import CompletionItem

        return [
            CompletionItem(name, help=text) for name, (_, text) in self._lazy.items() if name.startswith(incomplete)
        ]


def lazy_group(name: str) -> Callable[[Callable[..., None]], click.Group]:
    """A decorator: a group whose commands are those of the table."""
    decorate: Callable[[Callable[..., None]], click.Group] = click.group(cls=LazyGroup, commands_of=GROUPS[name])
    return decorate
