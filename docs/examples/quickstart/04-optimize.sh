optagent optimize churn retrain
