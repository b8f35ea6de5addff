optagent score churn --data new.parquet --out scored.parquet --interval 0.9
