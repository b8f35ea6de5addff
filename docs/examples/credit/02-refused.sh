optagent register with-part-time.yaml
optagent optimize credit retrain --gates '{"enable_bias_check": true, "max_bias": 0.1}'
