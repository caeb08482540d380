"""The will: the next root, signed ahead by the maker's threshold, handing everything to the successors (DESIGN 9).

It is sealed, and the key of the seal is split among trustees. `docs/will.md` says what it protects from and what not.
"""

from heirloom.signing.will.standing import State, Will, state

__all__ = ["State", "Will", "state"]
