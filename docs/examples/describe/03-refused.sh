optagent register wrong.yaml || echo "exit code $?"
