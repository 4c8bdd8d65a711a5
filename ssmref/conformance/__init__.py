"""Conformance: cases, the error measure, candidates and verdicts."""
