TOKEN=$(python -c 'import json; print(json.load(open("token.json"))["token"])')
curl -s "http://127.0.0.1:${OPT_AGENT_API_PORT:-8000}/api/v1/models/churn/predict" -H "Authorization: Bearer $TOKEN" \
     -H 'Content-Type: application/json' \
     -d '{"rows": [{"tenure": 3, "plan": "basic", "region": "north", "spend": 61.5, "calls": 5}], "interval": 0.9}'
