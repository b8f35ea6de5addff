"""Conformal prediction: scores of answers, and the thresholds that make intervals and sets of labels of them."""
