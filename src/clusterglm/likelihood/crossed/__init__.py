"""Effects of factors that cross: units' own effects integrated out, those outside by Laplace's approximation.

Given the effects v of the outside factors, the units (levels of the inside factor) are independent, and their integrals
are those of `likelihood/vector`. What is left is an integral over v of

    f(v) = sum of the units' log-integrals - v'v / 2

which `crossed.py` approximates about its maximum, component by component of what hangs together (`layout.py`), with the
exact derivative of the approximation; `certificate.py` estimates by importance sampling what it is wrong by.
"""
