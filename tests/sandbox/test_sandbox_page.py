"""docs/sandbox.md against the sandbox: each rule on it can be read, and it tells of every key and every control."""

from __future__ import annotations

import json
from pathlib import Path
import re
from typing import Any

import pytest

from batchrunner.sandbox import passage, rules

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "sandbox.md").read_text(encoding="utf-8")
FIRST_CELLS = [line.split(" | ")[0] for line in PAGE.splitlines() if line.startswith("| `")]


@pytest.mark.parametrize("page", ["sandbox.md", "webhooks.md"])
def test_the_rules_on_a_page_can_be_read(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    scripts = re.findall(r"```json\n(.*?)```", text, flags=re.DOTALL) + re.findall(r"curl -X PUT -d '(.*?)'", text)
    assert scripts
    for script in scripts:
        assert rules.read_list(json.loads(script))


def test_the_page_tells_of_every_key_and_step() -> None:
    told = {word for cell in FIRST_CELLS for word in re.findall(r"`(\w+)`", cell)}
    known = set(rules._KEYS)
    details = {"code", "message", "headers", "body", "processed", "drop_by"}
    assert told - known == set()
    assert known - told <= details
    assert {word for word in details if f"`{word}`" in PAGE or f'"{word}"' in PAGE} == details
    assert {step for step in passage.STEPS if f"`{step}`" in PAGE} == set(passage.STEPS)


def test_the_page_tells_of_every_control_and_each_is_there(start: Any) -> None:
    _, caller = start()
    told = re.findall(r"`([A-Z]+) (/_sandbox/\S+)`", "\n".join(FIRST_CELLS))
    assert len(told) >= 10
    source = "".join(path.read_text(encoding="utf-8") for path in Path(rules.__file__).parent.glob("*.py"))
    there = {path.replace("{id}", "ID") for path in re.findall(r'Route\("(/_sandbox/\S+?)"', source)}
    assert {path for _, path in told} == there
    for method, path in told:
        answer = caller.http.request(method, caller.base_url + path.replace("ID", "unheard-of"))
        assert answer.status_code != 405, f"{method} {path}"
