optagent register model.yaml
