"""What is trusted: keys, roles, TUF metadata, manifests and releases."""
