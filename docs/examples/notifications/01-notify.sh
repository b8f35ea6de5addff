export OPT_AGENT_ENABLE_NOTIFICATIONS=true
export OPT_AGENT_NOTIFICATION_URLS="json://127.0.0.1:8907/models"
python receiver.py &                     # stands for Slack: it prints what it is sent, once
sleep 2
optagent notify-test
