"""Simulation studies: a design, replicates with seeds of their own; resumable, the same for any number of workers."""
