"""In-memory adapters: every port in one process, for tests, backtests on a virtual clock, and trying things out."""
