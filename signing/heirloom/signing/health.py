"""What `heirloom doctor` says about keys and an unfinished founding."""

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
    yield _keys(project)


def _keys(project: Project) -> Check:
    store = KeyStore(project.keys_dir())
    store.check_folder()
    without = [role for role, uris in project.signing.items() if not any(store.has(uri) for uri in uris)]
    if len(without) == len(project.signing):
        return Check(
            "keys", "absent", f"no key of this project is in {store.directory}", "fine where nothing is signed"
        )
    here = f"{len(store.names())} in {store.directory}"
    return Check("keys", "ok", f"{here}; none for {', '.join(without)}" if without else here)
