optagent register without-part-time.yaml
optagent optimize credit retrain --gates '{"enable_bias_check": true, "max_bias": 0.1}'
optagent versions credit
