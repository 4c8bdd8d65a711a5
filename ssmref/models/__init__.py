"""Blocks, stacks and models, written once over a package of ops."""
