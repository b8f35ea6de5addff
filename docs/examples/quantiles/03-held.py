import pandas as pd

minutes = pd.read_parquet("tomorrow.parquet")["minutes"]
promised = pd.read_parquet("promised.parquet")["prediction"]
print(f"{(minutes <= promised).mean():.0%} of the deliveries came in the promised time")
