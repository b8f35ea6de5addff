optagent prune --dry-run
