"""Two requests beside each other: what differs, as a person would name it."""

from __future__ import annotations

import json
from typing import Any

from batchrunner.core.spec import Spec


def what_changed(old: Spec, new: Spec, *, is_input_told: bool = False) -> str:
    """The differences between two specs, as a person would name them: `style.prompt: 'a' -> 'b'`, changed files.

    With `is_input_told`, that the job which it is made from changed is not said once more.
    """
    if old.kind is not new.kind:
        return f"kind: {old.kind} -> {new.kind}"
    contents = {each.field: each for each in old.inputs}
    files = [
        f"content of {each.path}"
        for each in new.inputs
        if each.sha256 and (before := contents.get(each.field)) and before.sha256 not in {None, each.sha256}
    ]
    if not is_input_told:
        files += [
            f"its input, job {each.job}, changed"
            for each in new.inputs
            if each.job is not None and (before := contents.get(each.field)) and before.made_from != each.made_from
        ]
    return "; ".join(files + differences("", old.body(), new.body()))


def differences(path: str, old: Any, new: Any) -> list[str]:
    """What differs between two values of JSON, field by field; `path` names the place of both."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [line for key in keys for line in differences(f"{path}.{key}", old.get(key), new.get(key))]
    if old == new:
        return []
    return [f"{path.removeprefix('.')}: {_short(old)} -> {_short(new)}"]


def _short(value: Any) -> str:
    return cut("unset" if value is None else json.dumps(value, ensure_ascii=False))


def cut(text: str) -> str:
    """A text that fits into a sentence."""
    return text if len(text) <= 40 else f"{text[:39]}…"
