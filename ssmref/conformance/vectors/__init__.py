"""Vectors: cases as files, written for and read from programs in any language."""
