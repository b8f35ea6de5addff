optagent audit list --limit 8
optagent audit verify
optagent audit export links.jsonl
optagent audit replay "$(optagent processes --json | python -c 'import json, sys; print(json.load(sys.stdin)[0]["process_id"])')"
