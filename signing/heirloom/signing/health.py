"""What `heirloom doctor` says about an unfinished founding and about roles that cannot be signed here."""

from collections.abc import Iterator

from heirloom.cli.doctor import Check
from heirloom.cli.project import Project, find
from heirloom.signing import founding
from heirloom.signing.keys import KeyStore


def checks() -> Iterator[Check]:
    """The findings for the project at hand; none outside of one."""
    if find() is None:
        return
    project = Project.load()
    if founding.unfinished(project.root) is not None:
        yield Check("init", "attention", "`heirloom init` was interrupted here", "run `heirloom init` to finish it")
    store = KeyStore(project.keys_dir())
    without = [role for role, uris in project.signing.items() if not any(store.has(uri) for uri in uris)]
    if store.names() and without:
        yield Check("roles", "absent", f"no key here for {', '.join(without)}", "fine where others sign for them")
