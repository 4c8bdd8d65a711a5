"""Measuring implementations: verified first, then timed side by side, samples kept."""
