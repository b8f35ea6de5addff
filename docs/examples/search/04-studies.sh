optagent studies churn
study=$(optagent studies churn --json | python -c 'import json, sys; print(json.load(sys.stdin)[0]["study_id"])')
optagent studies "$study" --html plots
