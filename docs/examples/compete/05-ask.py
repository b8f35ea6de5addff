import json
import os
from pathlib import Path

import pandas as pd
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

api = f"http://127.0.0.1:{os.environ.get('OPT_AGENT_API_PORT', '8000')}/api/v1"
token = json.loads(Path("token.json").read_text())["token"]
rows = pd.read_parquet("rows.parquet").tail(2).drop(columns=["day", "sex", "churned"])

session = requests.Session()  # some seconds after `up`, a model is not loaded yet: 409
session.mount(
    "http://", HTTPAdapter(max_retries=Retry(10, status_forcelist=[409], allowed_methods=None, backoff_factor=0.5))
)
answer = session.post(
    f"{api}/models/churn/predict",
    json={"rows": rows.to_dict("records"), "key": "customer 17"},
    headers={"Authorization": f"Bearer {token}"},
    timeout=10,
)
answer.raise_for_status()
print(json.dumps(answer.json(), indent=2))
