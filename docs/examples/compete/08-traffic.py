import json
import os
import time
from pathlib import Path

import pandas as pd
import requests

api = f"http://127.0.0.1:{os.environ.get('OPT_AGENT_API_PORT', '8000')}/api/v1"
session = requests.Session()
session.headers["Authorization"] = f"Bearer {json.loads(Path('token.json').read_text())['token']}"
rows = pd.read_parquet("rows.parquet").sample(frac=1, random_state=1)
features = rows.drop(columns=["day", "sex", "churned"])

for first in range(0, len(rows), 20):
    part, truth = features[first : first + 20], rows["churned"][first : first + 20]
    ids = [f"request {first} row {number}" for number in range(len(part))]
    body = {"rows": part.to_dict("records"), "ids": ids, "key": f"customer {first}"}
    session.post(f"{api}/models/churn/predict", json=body, timeout=10).raise_for_status()
    labels = [{"id": row_id, "label": int(label)} for row_id, label in zip(ids, truth, strict=True)]
    session.post(f"{api}/models/churn/labels", json={"labels": labels}, timeout=10).raise_for_status()
    time.sleep(0.1)
print(f"{len(rows):,} rows asked and labelled")
