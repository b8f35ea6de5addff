optagent token create bot --scope predict --scope label --model churn --expires 90d --json > token.json
optagent token list
