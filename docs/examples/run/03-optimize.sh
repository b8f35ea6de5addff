optagent optimize churn retrain --action candidate
optagent optimize churn tune --trials 8 --gates '{"accuracy_min": 0.7, "max_latency_ms": 50}'
