"""Other libraries' ways to compute the ops, as contenders; each module needs its own.

A module is named after its library and holds a tuple ``CONTENDERS``; it is imported
only where it is asked for, and only this may fail.
"""
