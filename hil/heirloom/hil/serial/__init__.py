"""Devices at ports: serial lines, the raw REPL over them, files, and who is there."""
