"""``windlass access``: users, keys and roles of a server or database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from windlass_cli.options import duration, entity_option, json_option
from windlass_cli.output import ago, iso, note, print_json, table
from windlass_cli.state import State, pass_state
from windlass_cli.tree import lazy_group

if TYPE_CHECKING:
    from windlass.models.access import User

ROLES = ("viewer", "submitter", "owner", "admin")


@lazy_group("access")
def access() -> None:
    """Users, API keys, and who may do what in an entity."""


@lazy_group("access user")
def user() -> None:
    """Users and service accounts."""


@lazy_group("access key")
def key() -> None:
    """API keys."""


@lazy_group("access member")
def member() -> None:
    """Roles in an entity."""


@click.command()
@click.argument("name")
@click.option("--service", is_flag=True, help="A program, not a person.")
@click.option("--admin", is_flag=True, help="May do everything on this server.")
@json_option
@pass_state
def user_create(state: State, name: str, service: bool, admin: bool, as_json: bool) -> None:
    """Add the user NAME, and an entity of that name of which they are the admin."""
    from windlass.models.access import User

    made = state.store.access.create_user(User(name=name, service=service, admin=admin))
    if as_json:
        print_json(
            {"name": made.name, "service": made.service, "admin": made.admin, "created_at": iso(made.created_at)}
        )
    else:
        note(f"Created {'service account' if service else 'user'} {name}. A key: windlass access key create {name}")


def _user(value: User) -> dict[str, Any]:
    return {
        "name": value.name, "service": value.service, "admin": value.admin, "created_at": iso(value.created_at)
    }  # fmt: skip


@click.command()
@json_option
@pass_state
def user_list(state: State, as_json: bool) -> None:
    """List users."""
    found = state.store.access.users()
    if as_json:
        print_json(
            [{"name": u.name, "service": u.service, "admin": u.admin, "created_at": iso(u.created_at)} for u in found]
        )
        return
    table(
        ("name", "kind", "admin", "created"),
        [(u.name, "service" if u.service else "user", "yes" if u.admin else "", ago(u.created_at)) for u in found],
        empty="There are no users. Add one with: windlass access user create NAME",
    )


@click.command()
@click.argument("user_name", default="", metavar="[USER]")
@click.option("--description", default="", help="Where it is used.")
@click.option(
    "--expires", type=duration, metavar="DURATION", help="When it is refused: in 12h, 30d, 8w … [default: never]"
)
@json_option
@pass_state
def key_create(state: State, user_name: str, description: str, expires: float | None, as_json: bool) -> None:
    """Make an API key for USER (yourself by default). It is shown once, on stdout."""
    made = state.store.access.create_key(user_name or state.store.whoami().name, description, expires)
    ends = iso(made.key.expires_at)
    if as_json:
        print_json({"id": made.key.id, "user": made.key.user, "key": made.secret, "expires_at": ends})
        return
    click.echo(made.secret)
    if ends:
        note(f"It is good until {ends}.")
    note("Shown only now. Use it with: windlass login, or WINDLASS_API_KEY")


@click.command()
@click.argument("user_name", default="", metavar="[USER]")
@json_option
@pass_state
def key_list(state: State, user_name: str, as_json: bool) -> None:
    """List the API keys of USER (yourself by default); never the keys themselves."""
    found = state.store.access.keys(user_name or state.store.whoami().name)
    if as_json:
        print_json(
            [
                {"id": k.id, "user": k.user, "description": k.description, "created_at": iso(k.created_at),
                 "last_used_at": iso(k.last_used_at), "expires_at": iso(k.expires_at)}
                for k in found
            ]
        )  # fmt: skip
        return
    table(
        ("id", "description", "created", "last used", "expires"),
        [(k.id, k.description, ago(k.created_at), ago(k.last_used_at), iso(k.expires_at) or "never") for k in found],
        empty="There are no keys.",
    )


@click.command()
@click.argument("key_id")
@pass_state
def key_revoke(state: State, key_id: str) -> None:
    """Make the key KEY_ID useless."""
    from windlass.errors import NotFoundError

    if not state.store.access.revoke_key(key_id):
        raise NotFoundError(
            f"there is no key '{key_id}'", hint="Its id: windlass access key list USER. It may be gone."
        )
    note(f"Key {key_id} is good for nothing any more.")


@click.command()
@click.argument("user_name", metavar="USER")
@click.argument("role", type=click.Choice(ROLES))
@entity_option
@pass_state
def member_set(state: State, user_name: str, role: str, entity: str) -> None:
    """Give USER a role in an entity: viewer, submitter, owner (agents, too), admin (says who has which role)."""
    from windlass.models.access import Member, Role

    entity = entity or state.settings.entity
    state.store.access.set_member(Member(entity=entity, user=user_name, role=Role(role)))
    note(f"{user_name} is {role} in {entity}.")


@click.command()
@click.argument("user_name", metavar="USER")
@entity_option
@pass_state
def member_remove(state: State, user_name: str, entity: str) -> None:
    """Take USER's role in an entity away."""
    entity = entity or state.settings.entity
    state.store.access.remove_member(entity, user_name)
    note(f"{user_name} has no role in {entity}.")


@click.command()
@entity_option
@json_option
@pass_state
def member_list(state: State, entity: str, as_json: bool) -> None:
    """List who has which role in an entity."""
    entity = entity or state.settings.entity
    found = state.store.access.members(entity)
    if as_json:
        print_json([{"entity": m.entity, "user": m.user, "role": m.role.value} for m in found])
        return
    table(
        ("user", "role"),
        [(m.user, m.role) for m in found],
        empty=f"Nobody has a role in {entity}. Give one with: windlass access member set USER ROLE",
    )
