"""What a run of the rig leaves for people: one HTML file that opens without a server."""

from heirloom.hil.reporting.collect import collect
from heirloom.hil.reporting.page import render
from heirloom.hil.reporting.record import Recorder

__all__ = ["Recorder", "collect", "render"]
