"""How large a rounding error may be, element by element: one module per family."""
