optagent register model.yaml
optagent tune churn --trials 12
optagent versions churn
