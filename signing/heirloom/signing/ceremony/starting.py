"""`heirloom ceremony start`: from what a person typed to a new folder."""

from dataclasses import replace

from heirloom.cli.errors import HeirloomError
from heirloom.signing.ceremony import asking, base, ceremony, place
from heirloom.signing.ceremony.draft import draft
from heirloom.signing.ceremony.report import Described, describe, preview
from heirloom.signing.metadata import utc_now


def start(said: asking.Said, purpose: str | None, *, dry_run: bool) -> Described:
    """Make the ceremony.

    Args:
        said: The options.
        purpose: A title; made from the options if None.
        dry_run: Work out everything, and write nothing.

    Raises:
        HeirloomError: What was said makes no sense for this product, or the repository does not verify.
    """
    here = place.here()
    if here.project is None or here.repository is None:
        raise HeirloomError("a ceremony is started from a repository, and there is none here", "run it in the project")
    stands = replace(base.of_repository(here.repository), known=here.keyring.names())
    wanted = asking.wishes(said, stands, here.keyring)
    title = purpose or asking.purpose(said)
    now = utc_now()
    if dry_run:
        return preview(stands, draft(stands, wanted, now), title)
    parent = here.project.root / place.CEREMONIES
    product = here.project.product.name
    made = ceremony.start(parent, stands, wanted, now, product=product, purpose=title)
    return describe(made, stands, here)
