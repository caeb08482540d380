"""Releases, for other folders: build without keys, sign with the releases key, find what waits for publishing."""

from heirloom.signing.build import Options, build
from heirloom.signing.built import BuiltRelease, built_releases, load
from heirloom.signing.endorse import SignedRole, pending, pending_path, pending_role, sign, unpublished

__all__ = [
    "BuiltRelease",
    "Options",
    "SignedRole",
    "build",
    "built_releases",
    "load",
    "pending",
    "pending_path",
    "pending_role",
    "sign",
    "unpublished",
]
