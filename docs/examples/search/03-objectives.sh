optagent tune churn --method portfolio --trials 12
optagent tune churn --trials 10 --objective auc --objective latency_p99_ms
