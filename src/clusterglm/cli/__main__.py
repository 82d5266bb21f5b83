"""`python -m clusterglm.cli`."""

from clusterglm.cli import main

main()
