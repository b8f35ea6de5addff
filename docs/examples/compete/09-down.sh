optagent down
