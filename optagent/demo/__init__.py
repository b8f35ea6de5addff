"""Demonstration of the whole loop on this machine, for `optagent demo`."""
