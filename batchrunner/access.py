"""The provider as the commands see it: where it is, with which key, and what it says before anything is bought."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
import os
from pathlib import Path
from urllib.parse import urlsplit

from batchrunner.core import (
    evidence,
    lostlog,
)
from batchrunner.core.job import Job
from batchrunner.environ import KEYS
from batchrunner.errors import KeyRefused, NeverSent, NoAnswer, Rejected, UsageError
from batchrunner.provider import LIBRARY, wire
from batchrunner.provider.client import BASE_URL, Client
from batchrunner.provider.proxies import Proxies, proxies_of
from batchrunner.provider.watched import Heard
from batchrunner.sandbox import settings

FORBIDDEN_HINT = (
    "the key is known and may not be used: its plan may not include the API, or it was restricted at"
    " https://magichour.ai/developer; a proxy or firewall on the way answers 403 as well"
)
"""The provider's quick start (2026-08) gives 403 to a key whose plan lacks what was asked for, no specification has it,
and other clients of the API take it for a bad key. On the account, which every plan has, it is about the key."""

REFUSED_HINT = "make a key at https://magichour.ai/developer and set MAGIC_HOUR_API_KEY"
BUSY_HINT = "the provider answers, and cannot do it now: try again in a while; nothing was bought"
UNREACHABLE_HINT = "check the network, HTTPS_PROXY and NO_PROXY, a firewall, and MAGIC_HOUR_BASE_URL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where the provider is and with which key; the key shows in no text of this value.

    Attributes:
        key: the API key.
        base_url: where the API is.
        proxies: what leads there; by default what the environment names.

    Raises:
        UsageError: the key or the address cannot be one, or the proxy is one that cannot be used.
    """

    key: str
    base_url: str = BASE_URL
    proxies: Proxies = field(default_factory=lambda: proxies_of(os.environ))

    def __post_init__(self) -> None:
        if not self.key or not self.key.isascii() or not self.key.isprintable() or " " in self.key:
            raise UsageError("the key is empty, or holds characters that no key has", hint="copy it again")
        if not _is_address(self.base_url):
            raise UsageError("base_url is no http(s) address, or holds a user name or a password")

    def __repr__(self) -> str:
        return f"Access(base_url={self.base_url!r}, key=…)"

    @property
    def is_sandbox(self) -> bool:
        """Whether the provider is a sandbox on this machine; nothing else takes that key, and it opens nothing else."""
        return self.key == settings.API_KEY and urlsplit(self.base_url).hostname in {"127.0.0.1", "localhost", "::1"}

    def proxy_words(self) -> str | None:
        """The proxy that leads to the provider, and the variable that names it; None where there is none."""
        parts = urlsplit(self.base_url)
        proxy = self.proxies.of(scheme=parts.scheme, host=parts.hostname, port=parts.port)
        return None if proxy is None else f"{proxy.url} ({proxy.name})"

    @property
    def provider(self) -> str:
        """Whose projects these are: host and port, or `sandbox`, whose port differs from run to run."""
        parts = urlsplit(self.base_url)
        if self.is_sandbox:
            return settings.PROVIDER
        return f"{parts.hostname}:{parts.port}" if parts.port else f"{parts.hostname}"


def access(environ: Mapping[str, str]) -> Access:
    """The provider's address and the key, from the environment.

    Raises:
        UsageError: there is no key, the address is none, or the proxy is one that cannot be used.
    """
    key = key_of(environ)
    if not key:
        raise UsageError(
            "there is no API key",
            hint="set MAGIC_HOUR_API_KEY (keys are made at https://magichour.ai/developer); `run --sandbox` needs none",
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError("MAGIC_HOUR_API_KEY holds characters that no key has", hint="copy it again")
    # Documentation writes addresses with and without the version, which is in every path.
    base_url = (environ.get("MAGIC_HOUR_BASE_URL") or BASE_URL).rstrip("/").removesuffix("/v1").rstrip("/")
    if not _is_address(base_url):
        raise UsageError("MAGIC_HOUR_BASE_URL is no http(s) address, or holds a user name or a password")
    # What has no TLS is this machine's sandbox, and needs no proxy, be it one that we could use or not.
    proxies = proxies_of(environ) if base_url.startswith("https:") else Proxies()
    return Access(base_url=base_url, key=key, proxies=proxies)


def key_of(environ: Mapping[str, str]) -> str:
    """The key in the environment, as it stands there; empty where there is none."""
    return next((environ[name] for name in KEYS if environ.get(name)), "").strip()


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        is_plain = url.isascii() and url.isprintable() and " " not in url and not parts.query and not parts.fragment
        is_plain = is_plain and parts.scheme in {"http", "https"} and "@" not in parts.netloc and parts.port != 0
        return is_plain and bool(parts.hostname) and not str(parts.hostname).endswith("--")
    except ValueError:  # a port that is no number, a bracket that is not closed
        return False


def client(access: Access, *, heard: Heard | None = None) -> Client:
    """A client for it; use as an async context manager. `heard` is told of every request."""
    return Client(base_url=access.base_url, key=access.key, heard=heard, proxies=access.proxies)


async def account(client: Client) -> wire.Account:
    """The account behind the key, before anything else is sent: a refused key stops here.

    A deployment without the endpoint (the documentation of 2026-08 lacks it) gives an account of which nothing is
    known; its answer has shown that the key is accepted.

    Raises:
        KeyRefused: the key is wrong, or may not read the account.
        ProviderError: no answer.
    """
    try:
        return await client.account()
    except (NeverSent, NoAnswer) as error:
        raise type(error)(str(error), hint=UNREACHABLE_HINT) from error
    except Rejected as error:
        if error.status in {401, 403}:
            hint = FORBIDDEN_HINT if error.status == 403 else REFUSED_HINT
            text = f"the key is refused: {error}"
            raise KeyRefused(text, status=error.status, code=error.code, hint=hint) from error
        if error.status != 404:
            raise _told_of("the account", error) from error
        return wire.Account(id="", tier=None, credits=None)


def _told_of(what: str, error: Rejected) -> Rejected:
    """A refused read in words that say what was read, and what helps."""
    asked_s = error.retry_after_s
    hint = BUSY_HINT if asked_s is None else f"{BUSY_HINT}; it asks to be left alone for {asked_s:g} s"
    text = f"{what} could not be read: {error}"
    return type(error)(text, status=error.status, code=error.code, retry_after_s=asked_s, hint=hint)


async def account_of(access: Access) -> wire.Account:
    """The same by a connection of its own, for those who ask for nothing else."""
    async with client(access) as opened:
        return await account(opened)


def owners(access: Access, account: wire.Account) -> tuple[tuple[str, str], ...]:
    """What a state file is bound to, by the names under which it keeps that; empty where it is not told."""
    return (("provider", access.provider), ("account", account.id))


def refusal_of(
    state: Path, fact: Callable[[str], str | None], access: Access, account: wire.Account
) -> UsageError | None:
    """Why no run of this account may use a state file, by the facts in it; None where one may."""
    for name, mine in owners(access, account):
        recorded = fact(name)
        if recorded is None or not mine or recorded == mine:
            continue
        is_rehearsal = (name, recorded) == ("provider", settings.PROVIDER)
        whose = "this was a rehearsal:" if is_rehearsal else "use the key they were made with, or"
        return UsageError(
            f"{state} records renders of the {name} {recorded!r}, and this run would use {mine!r}",
            hint=f"{whose} move it (with its -wal and -shm, if they are there) and its renders away, or name another"
            " state file with --state",
        )
    return None


async def find_project(access: Access, job: Job, project_id: str) -> wire.Project:
    """The project that a lost submission became, as the provider has it.

    Raises:
        UsageError: it is not there, or cannot be that submission.
        ProviderError: no answer.
    """
    async with client(access) as open_client:
        try:
            found = await open_client.project(project_id)
        except Rejected as error:
            if error.status != 404:
                raise _told_of(f"project {project_id}", error) from error
            raise UsageError(f"the provider knows no project {project_id!r}", hint=f"look in {LIBRARY}") from error
    objection = evidence.misfit(job, project_type=found.type, name=lostlog.known_name(job, found.name))
    if found.is_deleted or objection:
        raise UsageError(f"{project_id} is not this submission: {objection or 'it was deleted'}")
    return found
