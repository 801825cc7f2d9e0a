"""``windlass budget``."""

from __future__ import annotations

import click

from windlass_cli.options import entity_option, json_option
from windlass_cli.output import note, print_json, table
from windlass_cli.state import State, pass_state
from windlass_cli.tree import lazy_group

_unit = click.option(
    "--unit", type=click.Choice(("hours", "money")), default="hours", show_default=True, help="What is counted."
)
_user = click.option("--user", default="", help="Author of the runs. Default: all of the entity together.")


@lazy_group("budget")
def budget() -> None:
    """Budgets: what runs may use in a calendar month (UTC)."""


@click.command("set")
@click.argument("limit", type=click.FloatRange(min=0))
@_unit
@_user
@entity_option
@pass_state
def set_(state: State, limit: float, unit: str, user: str, entity: str) -> None:
    """Let runs use at most LIMIT hours, or money, a month. Above it no further item is started."""
    from windlass.models.schedule import Budget, BudgetUnit

    wanted = Budget(entity=entity or state.settings.entity, user=user, unit=BudgetUnit(unit), limit=limit)
    found = state.store.schedule.set_budget(wanted)
    note(f"Budget of {found.user or found.entity}: {found.limit:g} {found.unit} a month; {found.used:.2f} are used.")


@click.command()
@_unit
@_user
@entity_option
@pass_state
def remove(state: State, unit: str, user: str, entity: str) -> None:
    """Remove a budget."""
    from windlass.models.schedule import Budget, BudgetUnit
    from windlass.schedule.costs import remove_budget

    wanted = Budget(entity=entity or state.settings.entity, user=user, unit=BudgetUnit(unit))
    remove_budget(state.store.schedule, wanted)
    note(f"Removed the budget of {wanted.user or wanted.entity} ({wanted.unit}).")


@click.command()
@entity_option
@json_option
@pass_state
def list_(state: State, entity: str, as_json: bool) -> None:
    """List budgets and what was used this month."""
    found = state.store.schedule.budgets(entity or state.settings.entity)
    if as_json:
        print_json(
            [
                {"entity": b.entity, "user": b.user, "unit": b.unit.value, "limit": b.limit, "used": round(b.used, 6)}
                for b in found
            ]
        )
        return
    table(
        ("entity", "user", "unit", "limit", "used"),
        [(b.entity, b.user or "(all)", b.unit, f"{b.limit:g}", f"{b.used:.2f}") for b in found],
        empty="There are no budgets. Set one with: windlass budget set 100 --unit hours",
    )


@click.command()
@click.argument("queue")
@click.argument("prices", nargs=-1, metavar="[NAME=PRICE]...")
@entity_option
@json_option
@pass_state
def prices(state: State, queue: str, prices: tuple[str, ...], entity: str, as_json: bool) -> None:
    """Show or set what runs of QUEUE cost an hour: hour=1.20 for each run, gpu=2.50 for each unit of a resource."""
    from attrs import evolve

    from windlass.errors import UsageError
    from windlass.models.queue import QueueRef

    found = state.store.queues.get(QueueRef(entity=entity or state.settings.entity, name=queue))
    given: dict[str, float] = {}
    for text in prices:
        name, _, value = text.partition("=")
        try:
            given[name] = float(value)
        except ValueError:
            raise UsageError(f"{text!r} is not of the form NAME=PRICE", where="PRICES", hint="e.g. gpu=2.5") from None
    if given:
        found = state.store.queues.update(evolve(found, prices={**found.prices, **given}))
    if as_json:
        print_json(found.prices)
    else:
        table(("resource", "price an hour"), sorted(found.prices.items()), empty=f"Runs of {queue} cost nothing.")
