"""Ensembles of models: weights learned on out-of-fold predictions, accepted only where a test on unseen rows shows a
gain."""
