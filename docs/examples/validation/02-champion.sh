optagent register linear.yaml
optagent tune churn --trials 3
