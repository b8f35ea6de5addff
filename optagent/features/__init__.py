"""Generated features: proposed by a residual, proven out-of-fold, written down as a plan that one row can follow."""
