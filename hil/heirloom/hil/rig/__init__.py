"""Rigs: described sets of devices, and what a test does with one of them."""
