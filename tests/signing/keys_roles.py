"""Roles held by other keys than those of the founding, without a ceremony."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import tomlkit
from securesystemslib.signer import Signer
from signing_product import Product

from heirloom.cli.project import FILE_NAME, Project
from heirloom.signing import ci, online, roles
from heirloom.signing.keys import role_signers
from heirloom.signing.metadata import file_name, next_role, sign, to_bytes


def name_keys(product: Product, role: str, uris: Sequence[str]) -> Project:
    """Write the keys of a role into heirloom.toml. Returns the project as it is then."""
    path = product.project.root / FILE_NAME
    document = tomlkit.parse(path.read_text())
    document["signing"][role] = list(uris)  # type: ignore[index]
    path.write_text(tomlkit.dumps(document))
    product.project = Project.load(product.project.root)
    return product.project


def hold(
    product: Product, role: str, signers: Sequence[Signer], threshold: int = 1, ci_keys: Iterable[Signer] = ()
) -> None:
    """Let the targets role give a releases role to these signers, who sign its next version; publish that."""
    now = datetime.now(UTC).replace(microsecond=0)
    repository = product.repository
    targets = next_role(repository.targets(), roles.TARGETS, now)
    assert targets.signed.delegations is not None
    for keyid in list(targets.signed.get_delegated_role(role).keyids):
        targets.signed.revoke_key(keyid, role)
    for signer in signers:
        targets.signed.add_key(signer.public_key, role)
    targets.signed.get_delegated_role(role).threshold = threshold
    for signer in ci_keys:
        ci.mark(targets.signed, signer.public_key.keyid)
    sign(targets, role_signers(product.project, roles.TARGETS))
    releases = next_role(repository.role(role), role, now)
    sign(releases, signers)
    changed = {
        file_name(roles.TARGETS, targets.signed.version): to_bytes(targets),
        file_name(role, releases.signed.version): to_bytes(releases),
    }
    product.write(online.refresh(repository, changed, product.signers(), now))
