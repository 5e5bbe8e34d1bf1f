"""How long is waited before a lost submission is judged, against how long the sandbox may hold one back."""

from __future__ import annotations

from batchrunner import assembly
from batchrunner.sandbox import chaos


def test_a_submission_is_not_judged_while_the_sandbox_may_still_take_it_in():
    holds = [
        rule["hang"] for rules in chaos.RULES.values() for rule in rules if rule["step"] == "create" and "hang" in rule
    ]
    assert max(holds) + 0.5 <= assembly.SANDBOX.grace_s
