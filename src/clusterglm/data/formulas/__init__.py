"""What a formula means: text to tree, tree to values, values to columns. Nothing in it is ever run as Python.

`tokens` and `parse` read, `tree` holds and writes; `algebra` says which terms a right-hand side has; `values` are
numbers or categories; `rowwise` and `columnwise` hold the functions, and each kind of basis has a file; `check` says
what is allowed, `evaluate` computes; `coding` turns factors into columns; `formula` takes a whole formula apart.
"""
