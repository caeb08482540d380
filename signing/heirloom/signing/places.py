"""The places where devices look for a repository, and whether one of them would outlive the maker.

Who owns a host cannot be known from here. What can be known is whether all places hang on one site: then they
go away together with whoever holds it, and nobody but the maker will. So at least two sites are insisted on.
"""

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from heirloom.cli.errors import UsageError

MIN_PLACES = 2

_ADVICE = (
    "add a place that is not yours and stays when you are gone, as https://YOU.github.io/PRODUCT/ or a friend's host; "
    "it may still be empty: devices try places, they do not trust them"
)


def normalise(url: str) -> str:
    """`url` as a base URL, ending with a slash.

    Raises:
        UsageError: It is not an http or https address.
    """
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or not url.isascii() or not url.isprintable() or any(c in url for c in ' ?#@"\\'):
        raise UsageError(
            f"{url!r} is no place for a repository", "it must look like https://updates.example.org/product/"
        )
    return url if url.endswith("/") else url + "/"


def site(url: str) -> str:
    """What one holder probably has in hand: the domain above the host name of `url`, or the address itself."""
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        labels = host.split(".")
    # co.uk, com.au: two short labels are a registry, not a holder.
    is_registry = len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= 3
    return ".".join(labels[-3:] if is_registry else labels[-2:])


def check(urls: Sequence[str]) -> None:
    """Insist on two places that do not go away together, so that one is not the maker's (DESIGN 4).

    Args:
        urls: Base URLs.

    Raises:
        UsageError: There are fewer, or all are on one site.
    """
    count = len(set(urls))
    if count < MIN_PLACES:
        raise UsageError(f"devices need at least {MIN_PLACES} places to look, --url names {count or 'none'}", _ADVICE)
    sites = {site(url) for url in urls}
    if len(sites) == 1:
        raise UsageError(f"all places are on {sites.pop()} and would go away together", _ADVICE)
