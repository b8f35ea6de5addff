optagent register today-only.yaml
optagent tune meters-today-only --trials 10
optagent register model.yaml
optagent tune meters --trials 10
optagent score meters --data this-week.parquet --out expected.parquet
