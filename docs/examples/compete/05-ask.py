import json
import os
from pathlib import Path

import pandas as pd
import requests

api = f"http://127.0.0.1:{os.environ.get('OPT_AGENT_API_PORT', '8000')}/api/v1"
token = json.loads(Path("token.json").read_text())["token"]
rows = pd.read_parquet("rows.parquet").tail(2).drop(columns=["day", "sex", "churned"])

answer = requests.post(
    f"{api}/models/churn/predict",
    json={"rows": rows.to_dict("records"), "key": "customer 17"},
    headers={"Authorization": f"Bearer {token}"},
    timeout=60,
)
answer.raise_for_status()
print(json.dumps(answer.json(), indent=2))
