optagent rollout status churn
optagent rollout rollback churn --why "to see how it is done"
optagent versions churn
