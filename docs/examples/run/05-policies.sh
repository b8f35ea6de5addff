optagent register policy.yaml
optagent register mixture.yaml
optagent mixture churn || true      # nothing has answered yet
optagent processes
