optagent optimize churn retrain --action candidate
