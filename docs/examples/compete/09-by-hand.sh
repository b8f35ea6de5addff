optagent rollout status churn
optagent rollout abort churn --why "the story ends here" || true     # refused where it has ended by itself
optagent rollout list churn
