"""The page of an archive: tells a person who finds it what this is, what is in it, and how to go on with it."""

from html import escape
from typing import TYPE_CHECKING

from heirloom.device.manifest import Manifest

if TYPE_CHECKING:
    from heirloom.server.archive import Archive
    from heirloom.signing.wholeness import Contents

_STYLE = """
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 52rem; margin: 3rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8885; vertical-align: top }
code { overflow-wrap: anywhere } pre { overflow-x: auto; padding: .6rem; background: #8882 }
.warning { border-left: .3rem solid #c60; padding-left: 1rem }
"""
_SHORT = 16


def lost(archive: "Archive") -> str:
    """What freeze protection a lasting copy lacks."""
    return (
        f"Until {archive.accepted_until} a device cannot notice that somebody withholds a newer release from it: "
        "usually it would after 7 days, when the timestamp expires. Nothing else is lost: nobody can change a release, "
        "add one, or bring a device back to an old one"
    )


def render(archive: "Archive", contents: "Contents") -> str:
    """The page as HTML; it opens from a file, without a server and without a network."""
    title = f"{archive.product}: archive of its firmware updates"
    parts = [
        _intro(archive),
        f'<h2>How long</h2><p class="warning">{escape(lost(archive))}.</p>' if archive.lasting else _short(archive),
        *(_board(archive, contents, board) for board in archive.releases),
        _go_on(archive),
        _keys(archive),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1>\n" + "\n".join(parts) + "</body></html>\n"
    )


def _intro(archive: "Archive") -> str:
    who = ", ".join(f"{escape(key)}: {escape(str(value))}" for key, value in archive.maker.items() if value)
    return (
        f"<p>Made on {escape(archive.made)}. Behind the product stood: {who}.</p>"
        "<p>This folder is everything that devices need to update, and everything that people need to go on making"
        " updates, but for the keys. Devices verify all of it themselves; whoever serves it need not be trusted.</p>"
        "<h2>Serve it</h2><p>Put the folder on any web host, or in this folder run:</p>"
        "<pre>python3 -m http.server 8000</pre><p>Devices look at: "
        + ", ".join(f"<code>{escape(url)}</code>" for url in archive.urls)
        + ". An owner can point a device to another address.</p>"
    )


def _short(archive: "Archive") -> str:
    return (
        f"<h2>How long</h2><p>Devices accept it as it is until {escape(archive.accepted_until)}. Then somebody who"
        " holds the online keys must run <code>heirloom renew</code>, or its successors take over.</p>"
    )


def _board(archive: "Archive", contents: "Contents", board: str) -> str:
    channels = ", ".join(f"{name} {version}" for name, version in archive.channels[board].items()) or "none"
    until = archive.archived_until.get(board)
    old = f"<p>TUF clients other than devices find the older ones until {escape(until)}.</p>" if until else ""
    rows = []
    for version, record in archive.releases[board].items():
        manifest = Manifest.decode(contents.manifests[board, version])
        tools = ", ".join(f"{name} {number}" for name, number in record.tools.items()) if record else "not recorded"
        rows.append(
            f"<tr><td>{escape(version)}</td><td>{manifest.epoch}.{manifest.sequence}</td><td>{len(manifest.files)}</td>"
            f"<td>{escape(manifest.notes or '')}</td><td>{_source(archive, record)}</td><td>{escape(tools)}</td></tr>"
        )
    return (
        f"<h2>{escape(board)}</h2><p>Channels: {escape(channels)}</p><table><tr><th>Release</th><th>Order</th>"
        f"<th>Files</th><th>Notes</th><th>Source</th><th>Built with</th></tr>{''.join(rows)}</table>{old}"
    )


def _source(archive: "Archive", record: "object") -> str:
    if archive.escrow is not None:
        return escape(archive.escrow)
    sha256 = getattr(record, "source", None)
    return f'<a href="sources/{sha256}.tar">{sha256[:_SHORT]}</a>' if sha256 else "not recorded"


def _go_on(archive: "Archive") -> str:
    return (
        "<h2>Go on with it</h2><p>With Heirloom (<code>pip install heirloom-ota</code>):</p><pre>"
        "heirloom import THIS-FOLDER --into NEW-FOLDER\n"
        "heirloom will open --share FILE ...      # when the maker left a will, in the folder will/\n"
        "heirloom release verify VERSION --source SOURCE   # builds a release again, byte for byte</pre>"
        f"<p>Fingerprint of root 1, to compare with what others have: <code>{escape(archive.fingerprint)}</code></p>"
    )


def _keys(archive: "Archive") -> str:
    rows = "".join(
        f"<tr><td>{escape(role)}</td><td>{held['threshold']}</td><td><code>"
        + "<br>".join(escape(keyid[:_SHORT]) for keyid in _ids(held))
        + f"</code></td><td>{escape(archive.expires[role])}</td></tr>"
        for role, held in archive.keys.items()
    )
    return (
        "<h2>Roles</h2><table><tr><th>Role</th><th>Signatures</th><th>Keys</th><th>Expires</th></tr>"
        f"{rows}</table><p>The whole keys are in <code>archive.json</code> and <code>metadata/</code>.</p>"
    )


def _ids(held: dict[str, object]) -> list[str]:
    keys = held["keys"]
    return list(keys) if isinstance(keys, dict) else []
