"""`python -m batchrunner`, and the console script."""

from __future__ import annotations

import sys

SWITCH_S = 0.0005
"""Seconds after which a thread that computes lets another one go on, if it wants to.

Python's own 5 ms are long beside a request of 1 ms: while a result is looked into, each of the loop's system calls
would wait so long for its turn.
"""


def main() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        from batchrunner import collector  # noqa: PLC0415 - nothing is loaded before Ctrl-C can be heard

        collector.seldom()  # first: what is loaded stays, too
        from batchrunner.cli.app import main as run  # noqa: PLC0415 - as above

        sys.setswitchinterval(SWITCH_S)
        code = run()
    except KeyboardInterrupt:  # before, or after, there was anything to interrupt
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
