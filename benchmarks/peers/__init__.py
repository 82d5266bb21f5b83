"""Other programs on the same data: one file each, with the calls that its own documentation shows."""
