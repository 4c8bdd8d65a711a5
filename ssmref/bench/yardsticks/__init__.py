"""C programs to measure against, compiled where there is a compiler."""
