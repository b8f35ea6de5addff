optagent register direction.yaml
optagent tune direction --trials 8
optagent optimize direction retrain --gates '{"beats_constant": true}'
