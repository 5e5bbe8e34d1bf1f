"""The object storage beside the API: uploads and outputs as files, and the presigned addresses to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
import hashlib
import hmac
from pathlib import Path, PurePosixPath
import secrets
from stat import S_ISREG
import time
from typing import Final, Literal
from urllib.parse import parse_qsl, quote, urlencode

from starlette.concurrency import run_in_threadpool

from batchrunner.sandbox import problems

AssetType = Literal["video", "audio", "image"]

EXTENSIONS: Final[Mapping[AssetType, tuple[str, ...]]] = {
    "video": ("mp4", "m4v", "mov", "webm"),
    "image": ("png", "jpg", "jpeg", "jfif", "heic", "heif", "webp", "avif", "jp2", "tiff", "tif", "bmp"),
    "audio": ("mp3", "wav", "aac", "flac", "webm", "weba", "m4a", "opus", "ogg", "oga", "aiff", "amr"),
}
"""What may be uploaded as what (OpenAPI 2026-08, POST /v1/files/upload-urls)."""

UPLOAD_PREFIX: Final = "/storage/"
OUTPUT_PREFIX: Final = "/outputs/"
# The provider's output addresses all end alike, so that a client cannot name files after them.
OUTPUT_NAME: Final = "output.mp4"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A path with its signed query, and when it stops to work (ISO 8601, UTC)."""

    path: str
    expires_at: str


class Storage:
    """Files under one data folder. `asset_ttl_s`: uploads older than that are gone, as at the provider."""

    def __init__(self, data_dir: Path, *, secret: str, asset_ttl_s: float) -> None:
        self._uploads = data_dir / "uploads"
        self._outputs = data_dir / "outputs"
        self._secret = secret.encode()
        self._asset_ttl_s = asset_ttl_s
        self._uploads.mkdir(exist_ok=True)
        self._outputs.mkdir(exist_ok=True)

    def sign(self, method: Literal["GET", "PUT"], path: str, *, ttl_s: float) -> Signed:
        """`path` made usable for one method until `ttl_s` seconds from now."""
        expires = time.time() + ttl_s
        stamp = f"{expires:.3f}"
        query = urlencode({"expires": stamp, "signature": self._signature(method, path, stamp)})
        moment = datetime.fromtimestamp(expires, UTC).isoformat(timespec="milliseconds")
        return Signed(path=f"{quote(path)}?{query}", expires_at=moment.replace("+00:00", "Z"))

    def check(self, method: str, path: str, query: str, headers: Mapping[str, str]) -> None:
        """Nothing, if a request may pass.

        Raises:
            StorageError: 400 for a bearer that was sent along, 403 for an address that was changed or is over.
        """
        if "authorization" in headers:
            raise problems.StorageError(
                400,
                "InvalidArgument",
                "Only one auth mechanism allowed; only the signature query parameter or the Authorization header "
                "should be specified",
            )
        self._check_query(method, path, query)

    def is_signed(self, path: str, query: str) -> bool:
        """Whether this is an address of an output that can be fetched now."""
        try:
            self._check_query("GET", path, query)
        except problems.StorageError:
            return False
        return True

    def _check_query(self, method: str, path: str, query: str) -> None:
        fields = parse_qsl(query, keep_blank_values=True)
        values = dict(fields)
        expected = self._signature(method, path, values.get("expires", ""))
        if len(fields) != 2 or not hmac.compare_digest(
            expected.encode(), values.get("signature", "").encode("utf-8", "replace")
        ):
            raise problems.StorageError(
                403, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature given."
            )
        if float(values["expires"]) <= time.time():
            raise problems.expired()

    def _signature(self, method: str, path: str, stamp: str) -> str:
        return hmac.new(self._secret, f"{method}\n{path}\n{stamp}".encode(), hashlib.sha256).hexdigest()

    def output(self, project_id: str) -> Path:
        """Where a project's result is or will be."""
        return self._outputs / f"{project_id}.mp4"

    def upload(self, file_path: str) -> Path | None:
        """The uploaded file, or None if there is none, or it is older than the provider keeps it."""
        path = self._place(file_path)
        if path is None:
            return None
        try:
            status = path.stat()
        except OSError:
            return None
        is_kept = S_ISREG(status.st_mode) and time.time() - status.st_mtime < self._asset_ttl_s
        return path if is_kept else None

    async def receive(self, file_path: str, chunks: AsyncIterator[bytes], *, expected_bytes: int) -> None:
        """Store what arrives; under its name only once all of it is there.

        Raises:
            StorageError: 400 when fewer or more bytes came than were announced.
        """
        target = self._place(file_path)
        assert target is not None, "only paths that we signed get here"
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
        received = 0
        try:
            with part.open("wb") as file:
                async for chunk in chunks:
                    await run_in_threadpool(file.write, chunk)
                    received += len(chunk)
            if received != expected_bytes:
                raise problems.StorageError(
                    400, "IncompleteBody", "You did not provide the number of bytes specified by Content-Length"
                )
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def _place(self, file_path: str) -> Path | None:
        """The path inside the uploads folder; None for anything that would leave it."""
        parts = PurePosixPath(file_path).parts
        if not parts or any(part in ("..", "/") or ":" in part or "\\" in part or "\0" in part for part in parts):
            return None
        return self._uploads.joinpath(*parts)
