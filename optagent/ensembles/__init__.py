"""Several models together: weights learned on what each said of rows it had not seen, and whether that is worth it."""
