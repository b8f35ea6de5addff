optagent register linear.yaml
optagent tune churn --trials 2          # version 1: the champion
optagent register model.yaml
optagent tune churn --trials 4          # version 2: the challenger, where it is proven to be better
optagent versions churn
