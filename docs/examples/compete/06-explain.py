import json
import os
from pathlib import Path

import requests

api = f"http://127.0.0.1:{os.environ.get('OPT_AGENT_API_PORT', '8000')}/api/v1"
token = json.loads(Path("token.json").read_text())["token"]
row = {"tenure": 3, "plan": "basic", "region": "north", "spend": 61.5, "calls": 5}

answer = requests.post(
    f"{api}/models/churn/predict",
    json={"row": row, "explain": 3},
    headers={"Authorization": f"Bearer {token}"},
    timeout=120,  # the first time, a version's trees are read anew: some seconds
)
answer.raise_for_status()
print(json.dumps(answer.json()["predictions"][0]["reasons"], indent=2))
