optagent tune churn --method portfolio --trials 20
optagent tune churn --trials 12 --objective auc --objective latency_p99_ms
