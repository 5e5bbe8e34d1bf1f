"""`sandbox`: the provider, played by this machine."""

from __future__ import annotations

from pathlib import Path
import tempfile

import click

from batchrunner.cli import options, show
from batchrunner.errors import Exit


@click.command(short_help="Run the provider's stand-in on this machine.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default="a free one", help="Port on 127.0.0.1.")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Keep its state here between starts.")
@click.option("--scale", default=1.0, show_default=True, help="Size of the pictures; 0.25 is quick.")
@click.option(
    "--latency", type=click.FloatRange(min=0), default=0.0, show_default=True, help="Seconds a render takes at least."
)
@click.option("--latency-spread", default=0.0, show_default=True, help="Share by which the latency differs, 0 to 1.")
@click.option("--no-render", is_flag=True, help="Tiny ready-made clips instead of renders, any number at once.")
@click.option("--credits", "balance", default=100_000, show_default=True, help="Balance of a new account.")
@click.option(
    "--tier",
    type=click.Choice(["free", "creator", "pro", "business"]),
    default="creator",
    show_default=True,
    help="Plan of the account: the default model, the sizes of clips and uploads.",
)
@click.option(
    "--faults",
    type=click.Path(path_type=Path, dir_okay=False),
    help="JSON file of rules of misbehaviour: see docs/sandbox.md.",
)
@click.option("--chaos", type=click.Choice(["mild", "wild"]), help="Misbehave at random.")
@click.option("--webhook-url", help="Post notices there, signed with SANDBOX_WEBHOOK_SECRET; only this machine.")
@click.option("--seed", default=0, show_default=True, help="The same seed misbehaves in the same way.")
@options.as_json
def sandbox(
    *,
    port: int,
    data: Path | None,
    scale: float,
    latency: float,
    latency_spread: float,
    no_render: bool,
    balance: int,
    tier: str,
    faults: Path | None,
    chaos: str | None,
    webhook_url: str | None,
    seed: int,
    as_json: bool,
) -> int:
    """Run a server that speaks the provider's API and really renders, on this machine only. Ends with Ctrl-C."""
    from batchrunner.sandbox import server
    from batchrunner.sandbox.settings import API_KEY, CHAOS, TIERS, Settings

    def ready(base_url: str) -> None:
        if as_json:
            show.as_json({"base_url": base_url, "api_key": API_KEY})
        else:
            click.echo(f"export MAGIC_HOUR_BASE_URL={base_url}\nexport MAGIC_HOUR_API_KEY={API_KEY}")
        show.say("sandbox is running; Ctrl-C ends it")

    with tempfile.TemporaryDirectory(prefix="batchrunner-sandbox-") as folder:
        settings = Settings(
            data_dir=data or Path(folder),
            port=port,
            scale=scale,
            latency_s=latency,
            latency_spread=latency_spread,
            no_render=no_render,
            credits=balance,
            tier=next(each for each in TIERS if each == tier),
            faults=faults,
            chaos=next((each for each in CHAOS if each == chaos), None),
            seed=seed,
            webhook_url=webhook_url,
        )
        server.run(settings, on_ready=ready)
    return Exit.OK
