"""Normal responses with normal random effects of any grouping factors: closed forms from sums of products.

The likelihood depends on the rows by sums of products within levels alone (`statistics.py`), which are taken once. One
factor, the one with most levels, is eliminated level by level; the levels of all others are eliminated together, one
connected component at a time (`layout.py`), of which nested factors have many small ones and crossed factors few large
ones.
"""
