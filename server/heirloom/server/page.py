"""The page at `/`: tells a person who followed a device's address what this is."""

from html import escape

from heirloom.server.overview import Board, Overview

_STYLE = """
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8885; vertical-align: top }
footer { margin-top: 3rem; opacity: .7; font-size: .9rem }
"""
_SHOWN_RELEASES = 5
_LABELS = {"name": "maker", "contact": "security contact", "support-until": "updates until"}


def render(overview: Overview) -> str:
    """The page as HTML."""
    title = f"Updates for {overview.product}" if overview.product else "Firmware updates"
    body = f"<p>{escape(overview.problem)}</p>" if overview.problem else _published(overview)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1>\n{body}\n"
        "<footer>Served by Heirloom: firmware updates that outlive their maker. What devices install from here is"
        " signed by the maker and verified on the device itself (The Update Framework), so this server need not be"
        " trusted.</footer></body></html>\n"
    )


def _published(overview: Overview) -> str:
    return "\n".join(
        [
            "<p>This is a repository of signed updates. Devices look here by themselves; there is nothing to do.</p>",
            *(_board(board) for board in overview.boards),
            _maker(overview),
            f"<p>Timestamp version {overview.timestamp}, valid until {overview.expires:%Y-%m-%d %H:%M} UTC.</p>",
        ]
    )


def _board(board: Board) -> str:
    channels = "".join(
        f"<tr><td>{escape(channel)}</td><td>{escape(version)}</td></tr>" for channel, version in board.channels.items()
    )
    table = f"<table><tr><th>Channel</th><th>Release</th></tr>{channels}</table>" if channels else ""
    latest = ", ".join(board.releases[:_SHOWN_RELEASES]) or "none yet"
    return f"<h2>{escape(board.name)}</h2>{table}<p>Latest releases: {escape(latest)}</p>"


def _maker(overview: Overview) -> str:
    told = [f"{_LABELS.get(key, key)}: {text}" for key, text in overview.maker.items() if text]
    places = [f"also at {url}" for url in overview.urls]
    return "<p>" + "<br>".join(escape(line) for line in [*told, *places]) + "</p>"
