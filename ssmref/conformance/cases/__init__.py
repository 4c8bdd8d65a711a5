"""Designed inputs, one module per family of ops; `catalogue` gathers them."""
