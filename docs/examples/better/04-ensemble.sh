optagent register linear.yaml
optagent tune churn_linear --trials 3
optagent ensemble churn churn_linear --method weighted --into churn
