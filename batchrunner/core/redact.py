"""Taking secrets out of text that is kept: logs, events, reports of errors.

The same processor serves all of them. It knows secrets by their value (the key in use), by their form (a bearer, a
webhook's secret, the query of an address, where signatures stand, a user in an address), and by the name of the field
that holds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
import json
import re
from typing import Any, Final
from urllib.parse import quote

from batchrunner.core import plain

HIDDEN: Final = "…"

SHORTEST_SECRET: Final = 6
"""Characters; a shorter value would tear holes into ordinary words."""

MOST_NAMES: Final = 1000
"""Names of fields that are remembered."""

_QUERY: Final = re.compile(r"(://[^\s?#]*)\?[^\s'\"<>]*")
_USER: Final = re.compile(r"://[^\s/?#@]*@")
_BEARER: Final = re.compile(r"(bearer)\s+[A-Za-z0-9._~+/=-]+", re.IGNORECASE)
_WEBHOOK: Final = re.compile(r"whsec_[A-Za-z0-9_+/=-]+")
# A signature without its address in front: "…&X-Amz-Signature=ab12".
_SIGNATURE: Final = re.compile(
    r"\b(X-(?:Amz|Goog)-[A-Za-z-]+|Signature|sig|AWSAccessKeyId|Key-Pair-Id|token)=[^\s&'\"<>]+", re.IGNORECASE
)
_SECRET_NAMES: Final = ("authorization", "cookie", "password", "secret", "signature", "token", "api_key", "apikey")
_FIELDS: Final = re.compile("|".join(_SECRET_NAMES), re.IGNORECASE)
_TRACES: Final = ("://", "=", "whsec_", "earer", *_SECRET_NAMES, "\u0131", "\u0130".casefold())
"""Without one of these, whatever the case of its letters, nothing has the form or the name of a secret.

The last two are the i without a dot and the capital one with it: `_FIELDS` takes them for an i, folding does not.
"""


def without_queries(text: str) -> str:
    """The text with every address in it cut before its query, where signatures stand, and without its user."""
    return _QUERY.sub(rf"\1?{HIDDEN}", _USER.sub("://", text))


def by_form(text: str) -> str:
    """The text without what has the form of a secret, whosever it is."""
    # Most texts are a word: what cannot hold a secret is not searched for one.
    if "://" in text:
        text = without_queries(text)
    if "=" in text:
        text = _SIGNATURE.sub(rf"\1={HIDDEN}", text)
    if "whsec_" in text:
        text = _WEBHOOK.sub(HIDDEN, text)
    return _BEARER.sub(rf"\1 {HIDDEN}", text) if "earer" in text.lower() else text


class Redactor:
    """Takes secrets out of any value that JSON can hold; what it gives back is a copy."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """Also hide these values, in any way in which they may stand in a text."""
        forms = {form for secret in secrets if len(secret) >= SHORTEST_SECRET for form in _forms(secret)}
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        self._names: dict[str, str] = {}
        self._secrets = re.compile("|".join(map(re.escape, longest_first))) if forms else None
        self._in_json = [plain.json_line(form)[1:-1] for form in longest_first]

    def known(self, text: str) -> str:
        """The text without the secrets that are known by their value; addresses in it can still be used."""
        return text if self._secrets is None else self._secrets.sub(HIDDEN, text)

    def text(self, text: str) -> str:
        """The text without secrets."""
        return by_form(self.known(text))

    def value(self, value: Any) -> Any:
        """The value without secrets, in keys and in values; a field whose name says that it is one is hidden whole."""
        if isinstance(value, str):
            return self.text(value)
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping):
            return {self._name(str(key)): self._field(str(key), each) for key, each in value.items()}
        if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes | bytearray):
            return [self.value(each) for each in value]
        return self.text(str(value))

    def json_line(self, value: Any) -> str:
        """The value without secrets as JSON on one line; most hold none, and are not taken apart to look for any."""
        line = plain.json_line(value)
        folded = line.casefold()
        may_hold_one = any(trace in folded for trace in _TRACES) or any(form in line for form in self._in_json)
        return plain.json_line(self.value(value)) if may_hold_one else line

    def _name(self, name: str) -> str:
        """The name of a field without secrets; there are few names, and every line has them."""
        known = self._names.get(name)
        if known is None:
            known = self.text(name)
            if len(self._names) < MOST_NAMES:
                self._names[name] = known
        return known

    def _field(self, name: str, value: Any) -> Any:
        return HIDDEN if value and _is_secret(name) else self.value(value)


@lru_cache(maxsize=MOST_NAMES)
def _is_secret(name: str) -> bool:
    return _FIELDS.search(name) is not None


def _forms(secret: str) -> set[str]:
    """The ways in which a secret may stand in a text: as it is, in an address, in JSON, in a Python literal."""
    # One from the environment may hold bytes that are no text; they come as halves of surrogate pairs.
    in_address = {quote(secret, safe=safe, errors="surrogatepass") for safe in ("", "/")}
    return {secret, *in_address, json.dumps(secret)[1:-1], repr(secret)[1:-1]}
