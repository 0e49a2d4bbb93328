"""What recurs on the pages of Studio: one module for each thing."""
