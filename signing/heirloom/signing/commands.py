"""The commands of this folder."""

import typer

from heirloom.cli.groups import group
from heirloom.signing import commands_init, commands_key, commands_release


def register(app: typer.Typer) -> None:
    """Add `init`, `key` and `release` to the program."""
    app.command("init")(commands_init.init_command)
    key = group(app, "key", "Keys: encrypted files outside of any git work tree.")
    commands_key.register(key)
    release = group(app, "release", "Releases: build, sign, publish, look at them.")
    commands_release.register(release)
