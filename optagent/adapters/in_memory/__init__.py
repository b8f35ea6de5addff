"""Every port without the outside world: for tests, backtests on a virtual clock, and trying things out."""
