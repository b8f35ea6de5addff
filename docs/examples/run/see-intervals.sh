optagent intervals churn
