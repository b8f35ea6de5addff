optagent intervals rent
