"""Feature generation: candidates from a residual, tested out of fold, stored as a plan that transforms any row."""
