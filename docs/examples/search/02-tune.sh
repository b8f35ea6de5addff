optagent register model.yaml
optagent tune churn --trials 20
optagent versions churn
