"""Buckets, as their stores are spoken to. The only module that knows obstore, which is loaded with the first address.

Which account, which endpoint: the store's usual environment says so (`AWS_…`, `GOOGLE_…`, `AZURE_…`). None of it is
ever told. Foreign errors become ours here, in words that name the object, never the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
import hashlib
import importlib
import os
import re
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from batchrunner.core import redact, yamltext
from batchrunner.core.address import BUCKETS, Address
from batchrunner.errors import InputProblem, TransferError

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

T = TypeVar("T")

PART: Final = 8 * 1024 * 1024
"""Bytes of an object that are read or written by one request; S3 takes parts of 5 MiB at least, and 10,000 of them."""

PARTS_AT_ONCE: Final = 2
"""Parts on their way beside the one that is filled; with PART, all the memory that writing takes."""

_CLIENT: Final = {"timeout": "120s", "connect_timeout": "10s"}
_RETRY: Final = {"max_retries": 4, "retry_timeout": timedelta(seconds=60)}
_PREFIXES: Final = {"s3": "AWS", "gs": "GOOGLE", "az": "AZURE"}
_ENDPOINTS: Final = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": (),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
"""Variables that name a store's address; with one that is no address, obstore's Rust panics at the first request."""

_PANICS: Final = {"PanicException", "RustPanic"}
_NAMES_BESIDE: Final = 200
# An e-tag of this form is made of the content (S3 API, "Object": MD5, or MD5 of the parts' MD5s); under a key of KMS
# it is not, and then another for every writing.
_OF_CONTENT = re.compile(r'"[0-9a-f]{32}(?:-[0-9]+)?"')

_REFUSED = re.compile(r"status code: 40[13] ")
"""As the error of a writer says it, which is a plain OSError."""

_KEY = re.compile(r'Path "(?P<key>.*)"(?: contained|:)')
"""A key that the library cannot use, in the first line of what it says."""

_NOBODY: Final = ("169.254.169.254", "169.254.170.2", "metadata.google", "Account must be specified")
"""Signs that no credentials were in the environment: a machine's own role was asked for, and there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """An object as it is now."""

    address: Address
    size: int
    modified: datetime
    etag: str | None

    @property
    def modified_ns(self) -> int:
        """Nanoseconds since 1970."""
        return round(self.modified.timestamp() * 1e6) * 1000

    @property
    def version(self) -> str:
        """The hash of what its store knows its content by, lower-case hex.

        Where that is not made of the content it counts for this object alone, and without it the time of writing does.
        """
        etag = self.etag if self.etag and not self.etag.startswith("W/") else None
        if etag is not None and _OF_CONTENT.fullmatch(etag):
            told = f"{etag}/{self.size}"
        else:
            told = f"{self.address}/{etag or self.modified_ns}/{self.size}"
        return hashlib.sha256(f"object/{told}".encode()).hexdigest()

    def unchanged(self) -> dict[str, Any]:
        """What to ask for so that only this version is given."""
        return {"if_match": self.etag} if self.etag else {"if_unmodified_since": self.modified}


@cache
def _store(scheme: str, bucket: str) -> ObjectStore:
    stores = importlib.import_module("obstore.store")
    _check_endpoints(scheme)
    is_plain = os.environ.get(f"{_PREFIXES[scheme]}_ALLOW_HTTP", "").lower() in {"1", "true"}
    options: dict[str, Any] = {"client_options": {**_CLIENT, "allow_http": is_plain}, "retry_config": _RETRY}
    made: ObjectStore
    match scheme:
        case "s3":
            copy = os.environ.get("AWS_COPY_IF_NOT_EXISTS", "multipart")
            made = stores.S3Store(bucket, copy_if_not_exists=copy, **options)
        case "gs":
            made = stores.GCSStore(bucket, **options)
        case _:
            made = stores.AzureStore(bucket, **options)
    return made


def _check_endpoints(scheme: str) -> None:
    """Refuse an address of a store that is none; it is not shown, since it may hold a password."""
    for name in _ENDPOINTS[scheme]:
        written = os.environ.get(name)
        if written is not None and not _is_endpoint(written):
            raise TransferError(f"{name} is no http(s) address", hint="such as https://s3.example.com:9000")


def _is_endpoint(written: str) -> bool:
    try:
        parts = urlsplit(written)
        is_plain = written.isascii() and written.isprintable() and " " not in written
        return is_plain and parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, a bracket that is not closed
        return False


def forget() -> None:
    """Begin anew with the environment as it is now."""
    _store.cache_clear()


# --- waiting ---------------------------------------------------------------------------------------------------------

_LOCK: Final = threading.Lock()
_LOOPS: Final[list[asyncio.AbstractEventLoop]] = []
_WAITED_FOR: Final[set[Future[Any]]] = set()
_ABANDONED: Final[list[None]] = []
"""One for each time that all who waited were let go."""


def _waited(at: Address, request: Coroutine[Any, Any, T]) -> T:
    """What a request gives, waited for by a thread.

    The library's own calls that wait hear no Ctrl-C, and cannot be called off: by a bucket that is silent they would
    hold a program that is to end for minutes.
    """
    abandoned = len(_ABANDONED)
    future = asyncio.run_coroutine_threadsafe(request, _loop())
    _WAITED_FOR.add(future)
    if len(_ABANDONED) != abandoned:  # meanwhile, so that this one was not seen
        future.cancel()
    try:
        return future.result()
    except CancelledError:
        raise TransferError(f"{at} was not waited for any longer") from None
    except BaseException:
        future.cancel()
        raise
    finally:
        _WAITED_FOR.discard(future)


def _loop() -> asyncio.AbstractEventLoop:
    """The event loop of what threads wait for, in a thread that ends with the process."""
    with _LOCK:
        if not _LOOPS:
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="buckets", daemon=True).start()
            _LOOPS.append(loop)
        return _LOOPS[0]


def abandon() -> None:
    """Have every thread go on that waits for a bucket, with an error: nobody wants to know any more."""
    _ABANDONED.append(None)
    for each in tuple(_WAITED_FOR):
        each.cancel()


def _obstore() -> Any:
    return importlib.import_module("obstore")


@contextmanager
def _translated(at: Address) -> Iterator[None]:
    try:
        yield
    except TransferError:
        raise
    except ImportError as error:
        raise TransferError(f"cannot reach {at}: {error}", hint="pip install 'batchrunner[cloud]'") from error
    except BaseException as error:
        if not _is_foreign(error):
            raise
        raise _ours(error, at) from None  # its own text holds addresses, and what was sent to them


def _is_foreign(error: BaseException) -> bool:
    """Whether an error is the store's: one of obstore's own, or one of Python's that it raises in their place.

    Where its Rust gives up, what comes is no `Exception`, and its class can be imported from nowhere.
    """
    kind = type(error)
    is_own = kind.__module__.startswith("obstore") or kind.__name__ in _PANICS
    return is_own or isinstance(error, OSError | NotImplementedError | ValueError)


def _ours(error: BaseException, at: Address) -> TransferError:
    kind, said = type(error).__name__, str(error)
    what = f"the {BUCKETS[at.scheme]} {at.scheme}://{at.bucket}"
    if any(sign in said for sign in ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")):
        return TransferError(f"there is no {what.removeprefix('the ')}")
    told: TransferError
    if kind == "PreconditionError":
        told = InputProblem(f"{at} changed since the run began")
    elif isinstance(error, FileNotFoundError) or kind == "NotFoundError":
        told = InputProblem(f"there is no object {at}")
    elif any(sign in said for sign in _NOBODY):
        told = TransferError(f"no credentials were found for {what}", hint=_of_credentials(at))
    elif kind in {"PermissionDeniedError", "UnauthenticatedError"} or _REFUSED.search(said):
        told = TransferError(f"{what} refuses access to {at.key or 'it'}", hint=_of_credentials(at))
    elif "builder error" in said:
        hint = f"{_PREFIXES[at.scheme]}_ALLOW_HTTP=true allows it, which is meant for loopback"
        told = TransferError(f"the endpoint for {what} has no TLS, or is no address", hint=hint)
    elif kind == "InvalidPathError" or "Error parsing Path" in said:
        flaw = "an empty part, . or .., or a control character"
        key = _KEY.search(said)
        which = "it" if key is None else yamltext.quoted(key["key"], limit=200)
        told = TransferError(f"{what} holds an object whose key cannot be used: {which} has {flaw}")
    elif kind in _PANICS:
        told = TransferError(f"{what} cannot be reached: the library that speaks to it gave up")
    else:
        told = TransferError(f"{what} cannot be reached: {_short(said)}")
    return told


def _of_credentials(at: Address) -> str:
    names = {
        "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        "gs": "GOOGLE_APPLICATION_CREDENTIALS",
        "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
    }
    return f"{names[at.scheme]} in the environment say who asks; listing, reading, writing and deleting must be allowed"


def _short(said: str) -> str:
    """The reason at the end of obstore's first line, without the request and the addresses in front of it."""
    line = said.strip().partition("\n")[0]
    return redact.without_queries(line.rpartition(" - ")[2])[:200] or "no reason was given"


# --- reading ---------------------------------------------------------------------------------------------------------


def head(at: Address) -> Meta | None:
    """An object as it is now; None where there is none. Waits for the network.

    Raises:
        TransferError: nobody can tell.
    """
    return _waited(at, _head(at))


async def _head(at: Address) -> Meta | None:
    with _translated(at):
        try:
            return _meta(at, await _obstore().head_async(_store(at.scheme, at.bucket), at.key))
        except Exception as error:
            if isinstance(error, FileNotFoundError) or type(error).__name__ == "NotFoundError":
                return None
            raise


def _meta(at: Address, told: ObjectMeta) -> Meta:
    return Meta(address=at, size=told["size"], modified=told["last_modified"], etag=told["e_tag"])


def read(meta: Meta, begin: int, end: int) -> bytes:
    """Bytes of an object, of this version and no other; waits for the network.

    Raises:
        InputProblem: it is gone, or another by now.
        TransferError: they cannot be had.
    """
    return _waited(meta.address, read_async(meta, begin, end))


async def read_async(meta: Meta, begin: int, end: int) -> bytes:
    """The same for the event loop."""
    at, options = meta.address, {"range": (begin, end), **meta.unchanged()}
    with _translated(at):
        found = await _obstore().get_async(_store(at.scheme, at.bucket), at.key, options=options)
        return _all((await found.bytes_async()).to_bytes(), at, end - begin)


def _all(piece: bytes, at: Address, wanted: int) -> bytes:
    if len(piece) != wanted:
        raise TransferError(f"{len(piece)} bytes of {at} came where {wanted} were asked for")
    return piece


def listed(at: Address) -> Iterator[Meta]:
    """Every object beneath a key, which counts as a folder; waits for the network.

    Raises:
        TransferError: they cannot be listed.
    """
    with _translated(at):
        stream = aiter(_obstore().list(_store(at.scheme, at.bucket), prefix=at.key or None))
    while some := _waited(at, _more(at, stream)):
        for each in some:
            yield _meta(Address(scheme=at.scheme, bucket=at.bucket, key=each["path"]), each)


async def _more(at: Address, stream: AsyncIterator[Sequence[ObjectMeta]]) -> Sequence[ObjectMeta]:
    """What comes next in a listing; nothing at its end."""
    with _translated(at):
        async for some in stream:
            return some
    return ()


def listed_in(at: Address) -> list[Meta]:
    """Every object right in a folder, of whose own folders nothing is asked for; waits for the network.

    Raises:
        TransferError: they cannot be listed.
    """
    return _waited(at, _listed_in(at))


async def _listed_in(at: Address) -> list[Meta]:
    with _translated(at):
        store = _store(at.scheme, at.bucket)
        found = await _obstore().list_with_delimiter_async(store, prefix=at.key or None)
        return [_meta(Address(scheme=at.scheme, bucket=at.bucket, key=each["path"]), each) for each in found["objects"]]


def names_beside(at: Address) -> tuple[str, ...]:
    """Some names in the folder of an object, for naming the nearest; none where they cannot be had."""
    with suppress(TransferError):
        with _translated(at):
            store = _store(at.scheme, at.bucket)
            stream = aiter(_obstore().list(store, prefix=at.folder or None, chunk_size=_NAMES_BESIDE))
        paths = (each["path"].removeprefix(at.folder) for each in _waited(at, _more(at, stream)))
        return tuple(sorted(path for path in paths if "/" not in path))
    return ()


# --- writing ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def writing(at: Address) -> AsyncIterator[Callable[[bytes], Awaitable[None]]]:
    """A block that writes an object in parts. It is there when the block has ended, and of one that failed nothing is.

    What was written of one that failed is given up at the store, if that can still be told.

    Raises:
        TransferError: it cannot be written.
    """
    with _translated(at):
        file = _obstore().open_writer_async(
            _store(at.scheme, at.bucket), at.key, buffer_size=PART, max_concurrency=PARTS_AT_ONCE
        )
        await file.__aenter__()

    async def write(piece: bytes) -> None:
        with _translated(at):
            await file.write(piece)

    try:
        yield write
    except BaseException as error:
        with suppress(Exception):
            await file.__aexit__(type(error), error, error.__traceback__)
        raise
    with _translated(at):
        await file.__aexit__(None, None, None)


async def copy_to_free(source: Address, target: Address) -> bool:
    """Give an object another name in its bucket, if that is free; whether it was. The store itself does it.

    Raises:
        TransferError: it cannot be written.
    """
    with _translated(target):
        store, library = _store(source.scheme, source.bucket), _obstore()
        try:
            await library.copy_async(store, source.key, target.key, overwrite=False)
        except Exception as error:
            if _is_taken(error):
                return False
            if not _is_unknown(error):
                raise
            # A store that cannot copy to a free name alone: the caller has just seen that it is free, and the run lock
            # keeps two runs apart.
            await library.copy_async(store, source.key, target.key, overwrite=True)
    return True


def copy_to_free_now(source: Address, target: Address) -> bool:
    """The same for a thread."""
    return _waited(target, copy_to_free(source, target))


def _is_taken(error: Exception) -> bool:
    """Whether a copy was not made since its name is taken."""
    return type(error).__name__ in {"AlreadyExistsError", "PreconditionError"} or isinstance(error, FileExistsError)


def _is_unknown(error: Exception) -> bool:
    """Whether a store does not know how to copy to a free name alone."""
    return type(error).__name__ == "NotSupportedError" or "501 Not Implemented" in str(error)


async def delete(at: Address) -> None:
    """Remove an object; one that is not there is no error.

    Raises:
        TransferError: it cannot be removed.
    """
    with _translated(at), suppress(FileNotFoundError):
        await _obstore().delete_async(_store(at.scheme, at.bucket), at.key)


def delete_now(at: Address) -> None:
    """The same for a thread."""
    _waited(at, delete(at))


def put(at: Address, content: bytes) -> None:
    """Write a small object by one request; waits for the network.

    Raises:
        TransferError: it cannot be written.
    """
    _waited(at, _put(at, content))


async def _put(at: Address, content: bytes) -> None:
    with _translated(at):
        await _obstore().put_async(_store(at.scheme, at.bucket), at.key, content)
