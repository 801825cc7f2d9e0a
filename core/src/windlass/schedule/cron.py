"""Cron expressions: five fields, read in a time zone.

``minute hour day-of-month month day-of-week``, each ``*``, a number, a name (``jan``, ``mon``), a range ``a-b``, a step
``*/n`` or ``a-b/n``, or a list of those. When both days are restricted, either is enough (as cron has it). Sunday is 0
or 7. Also ``@hourly @daily @weekly @monthly @yearly``.

Where clocks are put forward, a time that does not exist is due as much later as the gap is long, unless the hour is
``*``. Where they are put back, a time that comes twice is due once, the first time, unless the hour begins with ``*``.
"""

from __future__ import annotations

import datetime as dt

from attrs import frozen

from windlass.errors import UsageError

__all__ = ["Cron", "parse_cron", "zone"]

_SHORT = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    ("day of week", 0, 7, {name: number for number, name in enumerate(_DAYS)}),
)
_HOURS = 24
_YEARS = 9
"""February 29th is at most eight years away."""


@frozen
class Cron:
    """A parsed expression; see `parse_cron`."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_hour: bool
    either_day: bool

    def after(self, time: float, tz: dt.tzinfo) -> float:
        """The first due time behind `time`, both in seconds since the epoch."""
        day = dt.datetime.fromtimestamp(time, tz).date() - dt.timedelta(days=1)
        for _ in range(366 * _YEARS):
            if self._is_on(day):
                later = [moment for moment in self._moments(day, tz) if moment > time]
                if later:
                    return min(later)
            day += dt.timedelta(days=1)
        raise UsageError("this cron expression is never due", where="cron", hint="Is the day in that month?")

    def _is_on(self, day: dt.date) -> bool:
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return day.month in self.months and ((of_month or of_week) if self.either_day else (of_month and of_week))

    def _moments(self, day: dt.date, tz: dt.tzinfo) -> set[float]:
        folds = (0, 1) if self.any_hour else (0,)
        found = set()
        for hour in self.hours:
            for minute in self.minutes:
                for fold in folds:
                    local = dt.datetime(day.year, day.month, day.day, hour, minute, fold=fold, tzinfo=tz)
                    moment = local.timestamp()
                    there = dt.datetime.fromtimestamp(moment, tz)
                    # A time inside a gap is moved behind it, not before it, as fold=1 would have it; one that comes
                    # every hour is not missed there, and would come at odd minutes where a gap is not a whole hour.
                    if (there.hour, there.minute) == (hour, minute) or (fold == 0 and len(self.hours) < _HOURS):
                        found.add(moment)
        return found


def parse_cron(text: str) -> Cron:
    """Parse an expression.

    Raises:
        UsageError: It is none, or it is never due; names the field.
    """
    words = _SHORT.get(text.strip().lower(), text).split()
    if len(words) != len(_FIELDS):
        raise UsageError(
            f"{text!r} has {len(words)} fields, not 5",
            where="cron",
            hint='minute hour day month weekday, e.g. "30 2 * * mon-fri", or @daily.',
        )
    minutes, hours, days, months, weekdays = (_field(word, *field) for word, field in zip(words, _FIELDS, strict=True))
    cron = Cron(
        minutes=minutes,
        hours=hours,
        days=days,
        months=months,
        weekdays=frozenset(day % 7 for day in weekdays),
        any_hour=words[1].startswith("*"),
        either_day=not words[2].startswith("*") and not words[4].startswith("*"),
    )
    cron.after(0.0, dt.UTC)
    return cron


def _field(text: str, name: str, low: int, high: int, names: dict[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for part in text.lower().split(","):
        span, slash, step_text = part.partition("/")
        step = _number(step_text, name, 1, high, {}) if slash else 1
        if span == "*":
            first, last = low, high
        else:
            left, dash, right = span.partition("-")
            first = _number(left, name, low, high, names)
            last = _number(right, name, low, high, names) if dash else (high if slash else first)
        if first > last:
            raise UsageError(f"{part!r} runs backwards", where=f"cron, {name}", hint="Write the smaller number first.")
        found.update(range(first, last + 1, step))
    return frozenset(found)


def _number(text: str, name: str, low: int, high: int, names: dict[str, int]) -> int:
    number = names.get(text, int(text) if text.isascii() and text.isdigit() and len(text) <= 4 else -1)
    if not low <= number <= high:
        also = f" or {', '.join(names)}" if names else ""
        raise UsageError(f"{text!r} is no {name}", where="cron", hint=f"{low} to {high}{also}; *, ranges, */steps.")
    return number


def zone(name: str) -> dt.tzinfo:
    """The time zone of an IANA name. Raises `UsageError`."""
    if name == "UTC":
        return dt.UTC  # also where no time zone data is installed
    from zoneinfo import ZoneInfo  # it brings much with it

    try:
        return ZoneInfo(name)
    except Exception as error:  # ZoneInfo raises ValueError, KeyError and OSError by the text
        raise UsageError(
            f"there is no time zone {name!r}", where="--timezone", hint="E.g. UTC, Europe/Berlin, Asia/Tokyo."
        ) from error
