"""What callers give, as far as Python itself takes anything: refused before anything is done with it."""

from __future__ import annotations

from collections.abc import Mapping

from batchrunner.core.selection import Selection
from batchrunner.errors import UsageError

LAST_PORT = 65535


def refuse_no_selection(select: object) -> None:
    """Refuse what selects nothing.

    Raises:
        UsageError: it is no `Selection`.
    """
    if not isinstance(select, Selection):
        raise UsageError(f"select is a Selection, not {select!r}", hint="such as Selection(only=('id',))")


def refuse_no_cap(name: str, value: object) -> None:
    """Refuse what is no cap; None is none.

    Raises:
        UsageError: it is no whole number of credits.
    """
    # True is a whole number to Python, and a cap of one credit to nobody.
    if value is not None and (type(value) is not int or value < 0):
        raise UsageError(f"{name} is a whole number of credits, 0 or more, not {value!r}")


def refuse_no_port(value: object) -> None:
    """Refuse what no server can listen on; 0 is any that is free.

    Raises:
        UsageError: it is no port.
    """
    # The system takes a number that is too large for another one, and listens there.
    if type(value) is not int or not 0 <= value <= LAST_PORT:
        raise UsageError(f"port is a whole number from 0 to {LAST_PORT}, not {value!r}")


def refuse_no_variables(value: object) -> None:
    """Refuse what gives no values to variables.

    Raises:
        UsageError: it is no mapping of names to texts.
    """
    is_one = isinstance(value, Mapping) and all(isinstance(each, str) for pair in value.items() for each in pair)
    if not is_one:  # what is in it may be secret, and is not shown
        raise UsageError("variables is a mapping of names to texts", hint='such as {"LOOK": "Ink"}')
