"""`python -m batchrunner.sandbox`: run one sandbox, told about by a single line of JSON on standard output."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import json
from pathlib import Path
import sys

from batchrunner.errors import BatchrunnerError
from batchrunner.sandbox import server
from batchrunner.sandbox.settings import CHAOS, TIERS, Settings
from batchrunner.sandbox.webhooks import SECRET


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code; 0 when it was asked to end."""
    options = parser().parse_args(arguments)
    try:
        server.run(settings_of(options), on_ready=_tell, exit_with_parent=options.exit_with_parent)
    except BatchrunnerError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.exit_code)
    return 0


def settings_of(options: argparse.Namespace) -> Settings:
    """The settings that the options ask for."""
    return Settings(
        host=options.host,
        port=options.port,
        data_dir=options.data_dir,
        scale=options.scale,
        latency_s=options.latency,
        credits=options.credits,
        tier=options.tier,
        render_workers=options.render_workers,
        upload_ttl_s=options.upload_ttl,
        download_ttl_s=options.download_ttl,
        asset_ttl_s=options.asset_ttl,
        latency_spread=options.latency_spread,
        no_render=options.no_render,
        faults=options.faults,
        chaos=options.chaos,
        seed=options.seed,
        webhook_url=options.webhook_url,
    )


def _tell(base_url: str) -> None:
    sys.stdout.write(json.dumps({"base_url": base_url}) + "\n")
    sys.stdout.flush()


def parser() -> argparse.ArgumentParser:
    """Every setting as an option; launch.py writes them."""
    options = argparse.ArgumentParser(prog="python -m batchrunner.sandbox", description=__doc__)
    options.add_argument("--data-dir", type=Path, required=True, help="where everything is kept")
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, default=0, help="0 takes a free one")
    options.add_argument("--scale", type=float, default=1.0, help="edges of results, 1.0 is the provider's size")
    options.add_argument("--latency", type=float, default=0.0, help="seconds a render takes at least")
    options.add_argument("--credits", type=int, default=100_000, help="balance of a new account")
    options.add_argument("--tier", choices=TIERS, default="creator")
    options.add_argument("--render-workers", type=int, default=2)
    options.add_argument("--upload-ttl", type=float, default=3600.0, help="seconds an upload address lives")
    options.add_argument("--download-ttl", type=float, default=86_400.0, help="seconds a result address lives")
    options.add_argument("--asset-ttl", type=float, default=7 * 86_400.0, help="seconds an upload is kept")
    options.add_argument("--latency-spread", type=float, default=0.0, help="share by which the latency differs")
    options.add_argument("--no-render", action="store_true", help="ready-made clips instead of renders")
    options.add_argument("--faults", type=Path, help="JSON file of rules of misbehaviour")
    options.add_argument("--chaos", choices=CHAOS, help="a random mix of misbehaviour")
    options.add_argument("--seed", type=int, default=0, help="of faults, chaos and the latency's spread")
    options.add_argument("--webhook-url", help=f"post notices there, signed with {SECRET}; only this machine")
    options.add_argument("--exit-with-parent", action="store_true", help="end when standard input ends")
    return options


if __name__ == "__main__":
    sys.exit(main())
