"""Ceremonies: people who sign changes of keys and roles together, apart from each other, by files."""
