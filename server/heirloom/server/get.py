"""Fetching a whole release over HTTP as any TUF client would, starting from a trusted root.

The output folder is a whole release when it holds `manifest.cbor`: that is put there last.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuf.api.exceptions import DownloadError, DownloadHTTPError, ExpiredMetadataError, RepositoryError
from tuf.api.metadata import Metadata, TargetFile
from tuf.ngclient.config import UpdaterConfig
from tuf.ngclient.updater import Updater

from heirloom.cli.errors import HeirloomError
from heirloom.cli.files import os_error
from heirloom.cli.output import note, progress
from heirloom.device.manifest import MAX_LENGTH, Manifest
from heirloom.server.blobs import BlobFetcher, UnreachableError
from heirloom.signing.metadata import PRODUCT
from heirloom.signing.repository import BLOBS, METADATA, TARGETS, channel_path, decode_manifest

MANIFEST = "manifest.cbor"
_USER_AGENT = "heirloom-get"


@dataclass(frozen=True)
class Fetched:
    """A release that was fetched.

    Attributes:
        url: The place that it came from.
        directory: Holds manifest.cbor, blobs/ and the metadata that vouches for them.
        files: Number of files in the release.
        bytes_fetched: Of contents; what was there already is not counted.
    """

    product: str
    board: str
    version: str
    epoch: int
    sequence: int
    url: str
    directory: Path
    files: int
    bytes_fetched: int


def get(board: str, channel: str, urls: Sequence[str], directory: Path, root: bytes) -> Fetched:
    """Fetch the release that a channel points to.

    Args:
        board: The board.
        channel: The channel.
        urls: Base URLs, tried in this order; each ends with a slash.
        directory: Where to; made if needed. What an earlier run left there is used.
        root: Metadata of a trusted root, of any version.

    Raises:
        HeirloomError: No place answers, or what it says does not verify. The first place's reason is told.
    """
    failures = []
    for url in urls:
        try:
            return _get_from(url, board, channel, directory, root)
        except HeirloomError as exc:
            failures.append(exc)
            if len(urls) > 1:
                note(f"{url}: {exc.message}")
    raise failures[0]


def _get_from(url: str, board: str, channel: str, directory: Path, root: bytes) -> Fetched:
    try:
        (directory / METADATA).mkdir(parents=True, exist_ok=True)
        (directory / BLOBS).mkdir(exist_ok=True)
        content = _verified(url, lambda: _manifest(url, board, channel, directory, root))
        manifest = decode_manifest(content, f"the manifest that channel {channel} of {board} points to")
        _check_names(manifest, board, root)
        fetched = _fetch_blobs(url, manifest, directory / BLOBS)
        part = directory / f".{MANIFEST}.part"
        part.write_bytes(content)
        part.replace(directory / MANIFEST)
    except OSError as exc:
        raise os_error(exc, f"cannot write to {directory}") from exc
    order = manifest.epoch, manifest.sequence
    return Fetched(
        manifest.product, board, manifest.version, *order, url, directory, len(list(manifest.files)), fetched
    )


def _verified(url: str, step: Callable[[], bytes]) -> bytes:
    """Run a step of python-tuf's client with its exceptions as sentences."""
    try:
        return step()
    except DownloadHTTPError as exc:
        raise HeirloomError(f"{url} is not a repository of this product: HTTP status {exc.status_code}") from exc
    except DownloadError as exc:
        raise _unreachable(url, exc.__cause__ or exc) from exc
    except ExpiredMetadataError as exc:
        raise HeirloomError(
            f"{url} is stale: {exc}", "its keeper must run `heirloom renew`, or name another --url"
        ) from exc
    except RepositoryError as exc:
        raise HeirloomError(
            f"{url} does not verify: {exc}",
            "it is another product's, or somebody changed it; nothing was taken from it",
        ) from exc


def _unreachable(url: str, exc: BaseException) -> HeirloomError:
    # urllib3 hides the cause inside, and puts the object that failed before its sentence.
    text = str(getattr(exc, "reason", exc))
    reason = text.partition("): ")[2] or text
    return HeirloomError(
        f"cannot reach {url}: {reason}", "check the address and the network; what is here already is kept"
    )


def _manifest(url: str, board: str, channel: str, directory: Path, root: bytes) -> bytes:
    """The manifest that the channel points to, if both of the board's roles agree on it."""
    updater = Updater(
        str(directory / METADATA),
        f"{url}{METADATA}/",
        str(directory),
        f"{url}{TARGETS}/",
        config=UpdaterConfig(app_user_agent=_USER_AGENT),
        bootstrap=root,
    )
    updater.refresh()
    pointer = updater.get_targetinfo(channel_path(board, channel))
    if pointer is None:
        raise HeirloomError(f"{url} has no channel {channel} for {board}", "see its page in a browser for what it has")
    if pointer.length > MAX_LENGTH:
        raise HeirloomError(f"channel {channel} of {board} points to {pointer.length} bytes, which is no manifest")
    listed = updater.get_targetinfo(_release(pointer))
    if listed is None or (listed.length, listed.hashes) != (pointer.length, pointer.hashes):
        raise HeirloomError(f"channel {channel} of {board} points to something that its releases role does not list")
    path = Path(updater.download_target(pointer, str(directory / f".{channel}.part")))
    try:
        return path.read_bytes()
    finally:
        path.unlink()


def _release(pointer: TargetFile) -> str:
    custom = pointer.custom
    return str(custom.get("release")) if isinstance(custom, dict) else ""


def _check_names(manifest: Manifest, board: str, root: bytes) -> None:
    product = Metadata.from_bytes(root).signed.unrecognized_fields.get(PRODUCT)
    if manifest.product != product:
        raise HeirloomError(f"the release is for the product {manifest.product}, the trusted root for {product}")
    if manifest.board != board:
        raise HeirloomError(f"the release is for {manifest.board}, not for {board}")


def _fetch_blobs(url: str, manifest: Manifest, folder: Path) -> int:
    """Fetch what is missing. Returns the number of bytes fetched."""
    wanted = {sha256: length for _, length, sha256 in manifest.files}
    if manifest.firmware:
        wanted[manifest.firmware[1]] = manifest.firmware[0]
    fetcher = BlobFetcher(f"{url}{BLOBS}/", folder, _USER_AGENT)
    with progress(f"{manifest.version} for {manifest.board}", total=sum(wanted.values())) as bar:
        for sha256, length in wanted.items():
            try:
                fetcher.fetch(sha256, length, bar.advance)
            except UnreachableError as exc:
                raise _unreachable(url, exc) from exc
    return fetcher.bytes_fetched
