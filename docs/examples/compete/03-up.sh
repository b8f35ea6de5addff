optagent up
