"""Cron expressions and forecasts."""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.errors import UsageError
from windlass.schedule.cron import parse_cron, zone
from windlass.schedule.forecast import starts_in

BERLIN = ZoneInfo("Europe/Berlin")


def following(text: str, start: str, count: int = 3, tz: dt.tzinfo = dt.UTC) -> list[str]:
    cron, time, found = parse_cron(text), dt.datetime.fromisoformat(start).replace(tzinfo=tz).timestamp(), []
    for _ in range(count):
        time = cron.after(time, tz)
        found.append(dt.datetime.fromtimestamp(time, tz).strftime("%m-%d %H:%M"))
    return found


@pytest.mark.parametrize(
    ("text", "start", "expected"),
    [
        ("*/15 * * * *", "2026-01-01T00:00", ["01-01 00:15", "01-01 00:30", "01-01 00:45"]),
        ("30 2 * * mon-fri", "2026-01-02T03:00", ["01-05 02:30", "01-06 02:30", "01-07 02:30"]),
        ("0 0 29 2 *", "2026-01-01T00:00", ["02-29 00:00", "02-29 00:00", "02-29 00:00"]),
        ("0 12 13 * fri", "2026-02-01T00:00", ["02-06 12:00", "02-13 12:00", "02-20 12:00"]),
        ("5,10-12 */6 1 jan,7 *", "2026-01-01T00:05", ["01-01 00:10", "01-01 00:11", "01-01 00:12"]),
        ("@weekly", "2026-01-01T00:00", ["01-04 00:00", "01-11 00:00", "01-18 00:00"]),
        ("0 0 * * 7", "2026-01-01T00:00", ["01-04 00:00", "01-11 00:00", "01-18 00:00"]),
    ],
)
def test_due_times(text: str, start: str, expected: list[str]) -> None:
    assert following(text, start) == expected


def test_clocks_that_are_put_forward() -> None:
    """On 2026-03-29 the hour from 02:00 to 03:00 is missing in Berlin."""
    assert following("30 2 * * *", "2026-03-28T12:00", 2, BERLIN) == ["03-29 03:30", "03-30 02:30"]
    assert following("30 * * * *", "2026-03-29T01:00", 3, BERLIN) == ["03-29 01:30", "03-29 03:30", "03-29 04:30"]


def test_a_gap_of_half_an_hour() -> None:
    """On 2026-10-04 the half hour from 02:00 is missing on Lord Howe Island; hourly times keep their minutes."""
    island = ZoneInfo("Australia/Lord_Howe")
    assert following("*/20 * * * *", "2026-10-04T01:30", 3, island) == ["10-04 01:40", "10-04 02:40", "10-04 03:00"]
    assert following("15 2 * * *", "2026-10-04T01:30", 2, island) == ["10-04 02:45", "10-05 02:15"]


def test_clocks_that_are_put_back() -> None:
    """On 2026-10-25 the hour from 02:00 to 03:00 comes twice in Berlin."""
    assert following("30 2 * * *", "2026-10-24T12:00", 2, BERLIN) == ["10-25 02:30", "10-26 02:30"]
    assert following("30 * * * *", "2026-10-25T01:00", 3, BERLIN) == ["10-25 01:30", "10-25 02:30", "10-25 02:30"]


@pytest.mark.parametrize(
    "text",
    ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "*/0 * * * *", "5-1 * * * *",
     "a * * * *", "1- * * * *", "-1 * * * *", "0 0 30 2 *", "@never", "1 1 1 1 1 1", "٣ * * * *"],
)  # fmt: skip
def test_what_is_no_expression(text: str) -> None:
    with pytest.raises(UsageError):
        parse_cron(text)


@given(st.text(alphabet="0123456789*/,-abcjanmon@ ", max_size=30))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        cron = parse_cron(text)
    except UsageError:
        return
    assert cron.after(1e9, dt.UTC) > 1e9


def test_time_zones() -> None:
    assert zone("UTC") is dt.UTC
    for name in ("Nowhere/Town", "", "../etc/passwd", "/etc/passwd"):
        with pytest.raises(UsageError):
            zone(name)


def test_forecasts() -> None:
    assert starts_in(ahead=0, running=[], slots=1, takes=None) == 0.0
    assert starts_in(ahead=5, running=[], slots=None, takes=10.0) == 0.0
    assert starts_in(ahead=0, running=[3.0], slots=1, takes=10.0) == 7.0
    assert starts_in(ahead=1, running=[3.0], slots=1, takes=10.0) == 17.0
    assert starts_in(ahead=1, running=[3.0, 9.0], slots=2, takes=10.0) == 7.0
    assert starts_in(ahead=0, running=[30.0], slots=1, takes=10.0) == 0.0
    assert starts_in(ahead=0, running=[3.0], slots=1, takes=None) is None
    assert starts_in(ahead=0, running=[1.0, 2.0, 3.0], slots=1, takes=10.0) == 9.0
