"""The content coding of an answer undone: one layer at most, and never more bytes than its reader wants.

We ask for none (`Accept-Encoding: identity`). What comes packed in spite of that is still read where that is safe,
since the id of a paid render may stand in it; two layers, or a coding we do not know, are no answer. An HTTP library
that undoes whatever is named makes gigabytes of a few packets before its caller sees the first byte. A file is another
matter: storages name codings that it has not, so only what really is gzip is undone.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Final
import zlib

Unpack = Callable[[bytes], bytes]
"""Takes the pieces of a body in turn; gives what they come to."""

_EITHER_HEADER = 32 + zlib.MAX_WBITS
"""zlib's and gzip's own header, whichever is there; `deflate` means the former (RFC 9110, 8.4.1)."""


def unpacker(coding: str, *, most: int) -> Unpack:
    """What undoes a coding as it is named in `Content-Encoding`; gives `most` bytes and one in all, and no more.

    It raises ValueError for broken bytes, and for any where there is more than one layer, or one we do not know.
    """
    name = coding.strip().lower()
    if name in {"", "identity"}:
        return lambda piece: piece
    if name not in {"gzip", "x-gzip", "deflate"}:
        return lambda _piece: _refuse(f"it came in the content coding {coding!r}, which was not asked for")
    packed, left = zlib.decompressobj(wbits=_EITHER_HEADER), most + 1

    def unpack(piece: bytes) -> bytes:
        nonlocal left
        if packed.eof or left <= 0:
            return b""
        try:
            found = packed.decompress(piece, left)
        except zlib.error:
            return _refuse("it is not in the content coding that it names")
        left -= len(found)
        return found

    return unpack


_GZIP: Final = b"\x1f\x8b"
"""How every gzip file begins, and no video does."""

PIECE: Final = 1024 * 1024
"""Bytes that a packed file gives at a time, at the most."""


def is_gzip(coding: str) -> bool:
    """Whether a `Content-Encoding` names gzip alone."""
    return coding.strip().lower() in {"gzip", "x-gzip"}


async def opened(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """A file that is said to be gzip as it was before, in pieces; as it travels, where it is none.

    Raises:
        ValueError: it ends in the middle, or is broken.
    """
    head, packed = b"", zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    is_packed: bool | None = None
    async for chunk in chunks:
        left = chunk
        if is_packed is None:
            head = left = head + chunk
            if len(head) < len(_GZIP):
                continue
            is_packed = head.startswith(_GZIP)
        if not is_packed:
            yield left
            continue
        while left and not packed.eof:
            try:
                piece = packed.decompress(left, PIECE)
            except zlib.error as error:
                raise ValueError("it is not in the content coding that it names") from error
            left = packed.unconsumed_tail
            if piece:
                yield piece
    rest = packed.flush() if is_packed else head if is_packed is None else b""
    if rest:
        yield rest
    if is_packed and not packed.eof:
        _refuse("it ends in the middle of its content coding")


def _refuse(why: str) -> bytes:
    raise ValueError(why)
