optagent register model.yaml
optagent models
