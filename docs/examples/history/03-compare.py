import pandas as pd

tomorrow = pd.read_parquet("this-week.parquet")["tomorrow"]
expected = pd.read_parquet("expected.parquet")["prediction"]
print(f"off by {(tomorrow - expected).abs().mean():.2f} kWh in the mean")
