"""httpx, and aiohttp beneath it, without the command line of the first.

Where a terminal's libraries are installed, and click needs no invitation, `import httpx` loads its command line, and
with it rich and pygments: more than half of what it takes. Nobody here asks for that.
"""

from __future__ import annotations

import sys

_COMMAND_LINE = "httpx._main"

if "httpx" in sys.modules:
    import httpx
else:
    sys.modules[_COMMAND_LINE] = None  # type: ignore[assignment] # what is None there cannot be imported
    try:
        import httpx
    finally:
        del sys.modules[_COMMAND_LINE]

from httpx_aiohttp.transport import AiohttpResponseStream, AiohttpTransport  # noqa: E402 - it imports httpx, too

__all__ = ["AiohttpResponseStream", "AiohttpTransport", "httpx"]
