"""The command `serve`: says where it listens, serves, and keeps the timestamp fresh if it can."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heirloom.cli.context import current
from heirloom.cli.errors import HeirloomError
from heirloom.cli.output import note
from heirloom.cli.project import Project
from heirloom.server import serve
from heirloom.server.publish import Publisher
from heirloom.server.renewing import Renewer
from heirloom.signing import roles
from heirloom.signing.keys import KeyStore


def serve_folder(folder: Path, host: str, port: int, *, log: bool) -> None:
    """Serve a repository's folder without a project.

    Raises:
        HeirloomError: There is no repository in it; the port is in use; ...
    """
    if not (folder / "metadata" / "timestamp.json").is_file():
        raise HeirloomError(f"there is no repository in {folder}", "name the folder that holds metadata/ and targets/")
    with serve.listen(host, port) as listener:
        _serve(folder, listener, log=log)


def serve_project(publisher: Publisher, host: str, port: int, *, renew: bool, log: bool) -> None:
    """Serve the project's repository, and renew its online roles while serving if their keys are here.

    Raises:
        HeirloomError: There is no repository; a key does not open; the port is in use; ...
    """
    publisher.repository()
    # First of all the port: who cannot serve should not sign anything either.
    with serve.listen(host, port) as listener, _renewing(publisher, wanted=renew):
        _serve(publisher.project.repository, listener, log=log)


@contextmanager
def _renewing(publisher: Publisher, *, wanted: bool) -> Iterator[None]:
    if not wanted or not _keys_are_here(publisher.project):
        why = "the online keys are not here" if wanted else "--no-renew"
        note(f"serving only, the timestamp is not renewed ({why})")
        yield
        return
    publisher.open_keys()
    renewer = Renewer(publisher)
    renewer.start()
    try:
        yield
    finally:
        renewer.stop()


def _keys_are_here(project: Project) -> bool:
    store = KeyStore(project.keys_dir())
    online = (roles.TIMESTAMP, roles.SNAPSHOT)
    return all(any(store.has(uri) for uri in project.signing.get(role, [])) for role in online)


def _serve(folder: Path, listener: socket.socket, *, log: bool) -> None:
    serve.run(serve.make_server(folder, log=log), listener, _say)


def _say(url: str) -> None:
    # At once and on one line: whoever started this program waits for it.
    print(json.dumps({"url": url}) if current().json else f"Serving at {url} (Ctrl-C ends)", flush=True)
