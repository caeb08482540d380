"""The station's settings: a JSON file that people may edit and the station itself writes."""

import json

_FILE = "settings.json"


def load():
    """Reads the settings. Raises OSError or ValueError when the file is missing or damaged."""
    with open(_FILE) as file:
        return json.load(file)


def save(config):
    """Writes the settings back."""
    with open(_FILE, "w") as file:
        json.dump(config, file)
