"""`python -m batchrunner`, and the console script."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        from batchrunner import collector  # noqa: PLC0415 - nothing is loaded before Ctrl-C can be heard
        from batchrunner.cli.app import main as run  # noqa: PLC0415

        collector.seldom()
        code = run()
    except KeyboardInterrupt:  # before, or after, there was anything to interrupt
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
