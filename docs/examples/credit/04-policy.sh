optagent register policy.yaml
