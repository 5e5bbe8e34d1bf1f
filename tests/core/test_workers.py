"""Who is asked to carry the bytes, by what was typed."""

from __future__ import annotations

import pytest

from batchrunner.core import workers
from batchrunner.errors import UsageError


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (1, 1),
        ("64", 64),
        (" 8 ", 8),
        ("tcp://scheduler:8786", "tcp://scheduler:8786"),
        ("tls://[::1]:8786/", "tls://[::1]:8786"),
    ],
)
def test_a_number_and_an_address_are_taken(said, wanted):
    assert workers.wanted(said) == wanted


@pytest.mark.parametrize("said", [0, 65, -1, True, "1000001", "٣", "", "tcp://scheduler:8786/?a=b", "tcp://a b:1"])
def test_anything_else_is_refused(said):
    with pytest.raises(UsageError, match="neither 1 to 64 workers"):
        workers.wanted(said)


@pytest.mark.parametrize("said", ["tls://me:hunter22@scheduler:8786", "wss://scheduler:8786/?token=hunter22"])
def test_what_is_secret_in_an_address_is_not_told(said):
    with pytest.raises(UsageError) as refused:
        workers.wanted(said)
    assert "hunter22" not in str(refused.value)
    assert "scheduler:8786" in str(refused.value)
