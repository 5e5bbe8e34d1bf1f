"""`sandbox`: the provider, played by this machine."""

from __future__ import annotations

from pathlib import Path
import tempfile

import click

from batchrunner.cli import show
from batchrunner.errors import Exit


@click.command()
@click.option("--port", default=0, show_default="a free one", help="Port on 127.0.0.1.")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Keep its state here between starts.")
@click.option("--scale", default=1.0, show_default=True, help="Size of the pictures; 0.25 is quick.")
@click.option("--latency", default=0.0, show_default=True, help="Seconds a render takes at least.")
@click.option("--credits", "balance", default=100_000, show_default=True, help="Balance of a new account.")
@click.option("--tier", type=click.Choice(["free", "creator", "pro", "business"]), default="creator", show_default=True)
def sandbox(*, port: int, data: Path | None, scale: float, latency: float, balance: int, tier: str) -> int:
    """Run a server that speaks the provider's API and really renders, on this machine only. Ends with Ctrl-C."""
    from batchrunner.sandbox import server
    from batchrunner.sandbox.settings import API_KEY, TIERS, Settings

    def ready(base_url: str) -> None:
        click.echo(f"export MAGIC_HOUR_BASE_URL={base_url}\nexport MAGIC_HOUR_API_KEY={API_KEY}")
        show.say("sandbox is running; Ctrl-C ends it")

    kind = next(each for each in TIERS if each == tier)
    with tempfile.TemporaryDirectory(prefix="batchrunner-sandbox-") as folder:
        settings = Settings(
            data_dir=data or Path(folder), port=port, scale=scale, latency_s=latency, credits=balance, tier=kind
        )
        server.run(settings, on_ready=ready)
    return Exit.OK
