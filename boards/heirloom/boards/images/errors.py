"""The one error of this package."""

from heirloom.cli.errors import HeirloomError


class ImageError(HeirloomError):
    """An image is damaged, or does not belong here. The message says which part and why."""
