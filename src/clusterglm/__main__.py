"""`python -m clusterglm`."""

from clusterglm.cli import main

main()
