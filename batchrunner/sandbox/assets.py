"""What an input address means: an upload, a result of our own, or something elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final, Literal
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from batchrunner.sandbox import elsewhere, problems
from batchrunner.sandbox.books import Books
from batchrunner.sandbox.orders import Source
from batchrunner.sandbox.renderer import RenderError
from batchrunner.sandbox.storage import EXTENSIONS, OUTPUT_NAME, OUTPUT_PREFIX, Storage

Medium = Literal["video", "image"]
_LIBRARY: Final = ("magichour.ai", "/my-library")
_LOOPBACK_HOSTS: Final = ("127.0.0.1", "localhost", "::1")
_LIBRARY_KEYS: Final = ("videoId", "imageId")


def resolve(address: str, medium: Medium, *, own_netloc: str, books: Books, storage: Storage) -> Source:
    """Where an input comes from (docs inputs-and-outputs.mdx: file_path, library address, public address).

    `own_netloc` is the host and port this sandbox is asked under.

    Raises:
        ApiError: 422 when there is no such upload or result, or a public address shows no known extension.
    """
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise problems.unprocessable(f"Invalid URL: {address}") from error
    if parts.scheme not in ("http", "https"):
        return _upload(address, medium, storage)
    if (parts.hostname, parts.path) == _LIBRARY:
        return _library_item(parts, books)
    if _is_own(parts, own_netloc):
        return _own_output(parts, books, storage)
    if _extension(parts.path) not in EXTENSIONS[medium]:
        raise problems.unprocessable(f"The URL of a {medium} must include its file extension: {address}")
    return Source(origin="elsewhere", ref=address)


def _is_own(parts: SplitResult, own_netloc: str) -> bool:
    """Whether this sandbox serves the address: under its present name, or under one of an earlier start."""
    return parts.netloc == own_netloc or (parts.hostname in _LOOPBACK_HOSTS and parts.path.startswith(OUTPUT_PREFIX))


def _upload(file_path: str, medium: Medium, storage: Storage) -> Source:
    if storage.upload(file_path) is None:
        raise problems.unprocessable(f"The file {file_path} does not exist. Please upload it first.")
    if _extension(file_path) not in EXTENSIONS[medium]:
        raise problems.unprocessable(f"The file {file_path} is not of the type {medium}")
    return Source(origin="upload", ref=file_path)


def _library_item(parts: SplitResult, books: Books) -> Source:
    query: Mapping[str, list[str]] = parse_qs(parts.query)
    for key in _LIBRARY_KEYS:
        for project_id in query.get(key, ()):
            return _complete_output(project_id, books)
    raise problems.unprocessable("The library URL names no video or image")


def _own_output(parts: SplitResult, books: Books, storage: Storage) -> Source:
    path = unquote(parts.path)
    project_id, _, name = path.removeprefix(OUTPUT_PREFIX).partition("/")
    if not path.startswith(OUTPUT_PREFIX) or name != OUTPUT_NAME or not storage.is_signed(path, parts.query):
        raise problems.unprocessable("The URL cannot be read: it is no address of a result, or it has expired")
    return _complete_output(project_id, books)


def _complete_output(project_id: str, books: Books) -> Source:
    project = books.projects.get(project_id)
    if project is None or project.is_deleted or project.status != "complete":
        raise problems.unprocessable(f"There is no complete project {project_id} in this account")
    return Source(origin="output", ref=project_id)


def _extension(path: str) -> str:
    return PurePosixPath(path).suffix.removeprefix(".").lower()


def locate(source: Source, medium: Medium, *, storage: Storage, remote_dir: Path, until_s: float) -> Path:
    """The local file of an input; generated for one elsewhere, long enough for `until_s` seconds of clip.

    Raises:
        RenderError: it was there when the request was accepted, and is gone now.
    """
    if source.origin == "elsewhere":
        if medium == "video":
            return elsewhere.clip(source.ref, remote_dir, until_s=until_s)
        return elsewhere.still(source.ref, remote_dir)
    path = storage.upload(source.ref) if source.origin == "upload" else storage.output(source.ref)
    if path is None or not path.is_file():
        raise RenderError(f"invalid_{medium}_file", f"The {medium} file could not be read.")
    return path
