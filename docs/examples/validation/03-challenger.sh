optagent register model.yaml
optagent tune churn --trials 6
optagent versions churn
