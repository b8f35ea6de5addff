optagent register model.yaml
optagent tune deliveries --trials 20
optagent score deliveries --data tomorrow.parquet --out promised.parquet
