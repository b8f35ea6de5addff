optagent features churn --timeout 30
