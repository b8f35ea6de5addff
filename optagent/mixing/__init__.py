"""Online mixtures of a model's versions: answers, their learning from labels, and the bound of their loss."""
