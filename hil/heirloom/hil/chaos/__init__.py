"""Chaos on the wire: a loopback server in front of a repository that answers as no server should."""

from heirloom.hil.chaos.server import ChaosServer
from heirloom.hil.chaos.tricks import TRICKS, Trick

__all__ = ["TRICKS", "ChaosServer", "Trick"]
