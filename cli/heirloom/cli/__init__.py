"""The program `heirloom`: errors, output, the project file and the discovery of commands. The lowest layer."""
