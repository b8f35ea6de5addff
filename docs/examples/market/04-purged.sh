optagent register purged.yaml
optagent tune turbulence-purged --trials 8
