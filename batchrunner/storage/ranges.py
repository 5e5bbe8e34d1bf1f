"""An object as a file that can be read from any byte on: what is asked for is fetched, and little more."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
import io
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]

BLOCK: Final = 1024 * 1024
"""Bytes of one request. An index at a clip's end, or its first pictures, are rarely more."""

BLOCKS: Final = 8
"""Kept in memory for one file: pictures and sound of a clip may lie far apart, and are read by turns."""

MOST_AHEAD: Final = 4
"""Blocks of one request, where a file is read in order."""


class Ranges(io.RawIOBase):
    """Reads by blocks, the last few of which are kept."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        """Read by `read`, which is given the first byte and the one behind the last; `size` in bytes."""
        super().__init__()
        self._read = read
        self._size = size
        self._at = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._next = 0
        self._ahead = 1

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The byte that comes next."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a byte, from the beginning, from here or from the end."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill a buffer with what one block has for it; 0 at the end."""
        if self._at >= self._size:
            return 0
        target = memoryview(buffer).cast("B")
        number, start = divmod(self._at, BLOCK)
        piece = self._block(number)[start : start + len(target)]
        target[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            self._fetch(number)
        self._blocks.move_to_end(number)
        return self._blocks[number]

    def _fetch(self, number: int) -> None:
        """Fetch a block, and the more behind it the longer the file was read in order."""
        self._ahead = min(MOST_AHEAD, 2 * self._ahead) if number == self._next else 1
        begin = number * BLOCK
        piece = self._read(begin, min(self._size, begin + self._ahead * BLOCK))
        for start in range(0, len(piece), BLOCK):
            self._blocks[number + start // BLOCK] = piece[start : start + BLOCK]
        self._next = number + self._ahead
        while len(self._blocks) > BLOCKS:
            self._blocks.popitem(last=False)
