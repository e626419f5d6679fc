"""Finds target plugins (entry points) and resolves what a user types after `--target`."""
