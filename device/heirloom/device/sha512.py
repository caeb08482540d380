"""SHA-512 (FIPS 180-4): hashlib's where it exists, else our own in viper.

No MicroPython port that we know of ships SHA-512, CPython always does; so this module is what
lets the Ed25519 verifier import under both.
"""

try:
    from hashlib import sha512 as Sha512  # type: ignore[attr-defined, unused-ignore]
except ImportError:
    from heirloom.device.sha512_viper import Sha512  # type: ignore[assignment, unused-ignore]

__all__ = ("Sha512",)
