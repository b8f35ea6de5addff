optagent score churn --data rows.parquet --out scored.parquet
