"""The commands besides `ssmref verify`, one module each."""
