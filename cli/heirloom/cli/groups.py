"""Groups of commands that several folders fill: `release build` comes from signing, `release publish` from server."""

import typer


def group(app: typer.Typer, name: str, help: str) -> typer.Typer:
    """The command group `name` of `app`, made at the first call.

    Args:
        app: The program, as given to `register`.
        name: One word, as in "release".
        help: One sentence; the first caller's counts.
    """
    for registered in app.registered_groups:
        if registered.name == name and registered.typer_instance is not None:
            return registered.typer_instance
    made = typer.Typer(no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.add_typer(made, name=name, help=help)
    return made
