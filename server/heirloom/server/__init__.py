"""Publishing and serving a repository."""
