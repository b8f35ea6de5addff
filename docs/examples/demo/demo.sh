optagent demo --fast
