optagent rollout start churn --candidate challenger --policy label_delay_s=0
optagent rollout status churn                # also promote, abort, rollback, list
