"""`heirloom demo`: the whole of Heirloom once, on a simulated device, with an attacker on its wire."""
