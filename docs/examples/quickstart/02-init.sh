optagent init churn rows.parquet --target churned --out model.yaml
optagent register model.yaml
