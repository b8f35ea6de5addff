optagent register model.yaml
optagent record pumps --reference reference.parquet
optagent record pumps --predictions answers.parquet --labels labels.parquet
