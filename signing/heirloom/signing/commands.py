"""The commands of this folder."""

from typing import TYPE_CHECKING

import typer

from heirloom.cli.groups import group
from heirloom.signing import commands_ceremony, commands_init, commands_key, commands_release, commands_will

if TYPE_CHECKING:
    from collections.abc import Iterable

    from heirloom.cli.doctor import Check


def register(app: typer.Typer) -> None:
    """Add `init`, `key`, `release` and `will` to the program."""
    app.command("init")(commands_init.init_command)
    key = group(app, "key", "Keys: encrypted files outside of any git work tree.")
    commands_key.register(key)
    release = group(app, "release", "Releases: build, sign, publish, look at them.")
    commands_release.register(release)
    commands_ceremony.register(group(app, "ceremony", "Ceremonies: people who change keys and roles together."))
    will = group(app, "will", "The will: the hand-over to successors, signed ahead and sealed.")
    commands_will.register(will)


def doctor() -> "Iterable[Check]":
    """The findings of this folder for `heirloom doctor`."""
    from heirloom.signing.health import checks

    return checks()
