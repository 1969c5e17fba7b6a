"""The command ``mimei``."""

from mimeifs.cli.main import main

__all__ = ["main"]
