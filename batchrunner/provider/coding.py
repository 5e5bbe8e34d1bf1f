"""The content coding of an answer undone: one layer at most, and never more bytes than its reader wants.

We ask for none (`Accept-Encoding: identity`). What comes packed in spite of that is still read where that is safe,
since the id of a paid render may stand in it; two layers, or a coding we do not know, are no answer. An HTTP library
that undoes whatever is named makes gigabytes of a few packets before its caller sees the first byte.
"""

from __future__ import annotations

from collections.abc import Callable
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


def _refuse(why: str) -> bytes:
    raise ValueError(why)
