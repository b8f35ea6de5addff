optagent tune churn --trials 10
optagent versions churn
