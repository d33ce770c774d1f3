"""``jetsonx vm engine``."""

import click


@click.group("engine")
def command() -> None:
    """Engines."""
