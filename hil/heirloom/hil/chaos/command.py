"""`heirloom hil chaos`."""

import secrets
import time
from random import Random
from typing import Annotated

import typer

from heirloom.cli.errors import UsageError
from heirloom.cli.output import emit, note
from heirloom.hil.chaos.server import ChaosServer
from heirloom.hil.chaos.tricks import TRICKS, Trick


def _complete() -> list[str]:
    return list(TRICKS)


def chaos_command(
    upstream: Annotated[
        str | None, typer.Argument(metavar="URL", help="The true repository. Without it: list the tricks.")
    ] = None,
    trick: Annotated[
        list[str] | None,
        typer.Option(autocompletion=_complete, help="Play this one; repeat. Default: all but the slow."),
    ] = None,
    part: Annotated[str, typer.Option(metavar="TEXT", help="Only where the path contains this, as in /blobs/.")] = "",
    share: Annotated[float, typer.Option(min=0, max=1, help="Of the answers that are tampered with.")] = 0.3,
    seed: Annotated[int | None, typer.Option(min=0, help="For what is at random. Default: another each time.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Loopback port to listen on. Default: any.")] = 0,
    seconds: Annotated[float | None, typer.Option(metavar="S", help="End by itself. Default: with Ctrl-C.")] = None,
) -> None:
    """Stand in front of a repository and answer devices as no server should: cut, endless, slow, portals, and more."""
    if upstream is None:
        rows = [{"name": one.name, "harm": one.harm, "slow": one.slow} for one in TRICKS.values()]
        emit({"tricks": rows}, lambda console: console.print("\n".join(TRICKS), markup=False))
        return
    chosen = [_named(name) for name in trick or [one.name for one in TRICKS.values() if not one.slow]]
    number = secrets.randbits(31) if seed is None else seed
    coin = Random(number)  # noqa: S311 - a run that comes again, no secret

    def choose(path: str) -> Trick | None:
        return coin.choice(chosen) if part in path and coin.random() < share else None

    with ChaosServer(upstream, choose, seed=number, port=port) as server:
        note(f"listening on {server.url}, seed {number}; Ctrl-C ends")
        try:
            deadline = None if seconds is None else time.monotonic() + seconds
            while deadline is None or time.monotonic() < deadline:
                time.sleep(0.1)
        except KeyboardInterrupt:
            pass
        played = [{"path": one.path, "trick": one.trick} for one in server.played]
    tampered = sum(bool(one["trick"]) for one in played)
    emit(
        {"seed": number, "answers": played},
        lambda console: console.print(f"{len(played)} answers, {tampered} of them tricks, seed {number}", markup=False),
    )


def _named(name: str) -> Trick:
    if name not in TRICKS:
        raise UsageError(f"there is no trick {name}", f"tricks: {', '.join(TRICKS)}")
    return TRICKS[name]
