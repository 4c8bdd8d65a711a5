"""Adapters for known libraries: their functions under the names of golden."""
