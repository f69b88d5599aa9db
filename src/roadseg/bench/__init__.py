"""Speeds of this machine and of roadseg on it: parts measured in processes of their own, and put together."""

__all__: list[str] = []
