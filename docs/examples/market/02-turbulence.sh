optagent register turbulence.yaml
optagent tune turbulence --trials 8
